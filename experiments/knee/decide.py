"""Evaluate decision rules on sequences."""
import pickle, math
import numpy as np
from fit import EDGES, BINS, predict

LOGE = np.log(EDGES)

def cdf_at(p, u):
    """p (BINS,) ; u (m,) -> CDF"""
    c = np.cumsum(p)[:-1]
    return np.interp(np.log(u), np.concatenate([[LOGE[0]-2.0], LOGE]), np.concatenate([[0.0], c]))

def prepare_seq(seq, models):
    for s in seq:
        if len(s["ks"]) == 0: s["tr"] = []; continue
        P = predict(models, s["F"])
        tr = []
        for (k, off, arr), p in zip(s["ks"], P):
            t = s["steps"][:k] - off; T = t[-1]
            u = np.maximum(t / T, 1e-3)
            early = 1 - cdf_at(p[0], u); late = cdf_at(p[2], u)
            hit = 1 - early - late
            j = int(np.argmax(hit - 0.0 * early))
            tr.append((k, s["steps"][j], hit[j], early[j], late[j], T / t[j] - 1 if t[j] > 0 else 99, k - 1 - j, 1 - p[1][-2:].sum()))
        s["tr"] = np.array(tr)
    return seq

def outcome(s, i):
    tr = s["tr"]
    if i is None: return ("missed" if s["has"] else "quiet"), None
    pick = tr[i, 1]
    if not s["has"]:
        return ("quiet" if s["tol"][0] <= pick <= s["tol"][1] else "false"), None
    lo, hi = s["tol"]
    conf = s["steps"][int(tr[i, 0]) - 1]
    delay = ((s["steps"] > s["knee"]) & (s["steps"] <= conf)).sum() if conf >= s["knee"] else -((s["steps"] > conf) & (s["steps"] <= s["knee"])).sum()
    return ("early" if pick < lo else "late" if pick > hi else "hit"), delay

def rule(s, th, fall=0.0, floor=0.5, min_after=3, wlast=2.0):
    tr = s["tr"]
    if len(tr) == 0: return None
    need = np.interp(np.log1p(tr[:, 5]), [0.3, np.log1p(wlast)], [th, max(th - fall, floor)])
    ok = (tr[:, 2] >= need) & (tr[:, 6] >= min_after)
    return int(np.argmax(ok)) if ok.any() else None

def summary(seq, pick=rule, **kw):
    o = [outcome(s, pick(s, **kw)) for s in seq]
    k = [x for x, s in zip(o, seq) if s["has"]]; nk = [x for x, s in zip(o, seq) if not s["has"]]
    f = lambda n: np.mean([x[0] == n for x in k]) if k else float("nan")
    d = [x[1] for x in k if x[0] == "hit"]
    return dict(found=f("hit"), early=f("early"), late=f("late"), missed=f("missed"), fa=np.mean([x[0] == "false" for x in nk]) if nk else float("nan"), delay=np.median(d) if d else float("nan"), n=len(k), nn=len(nk))

def show(name, r): print(f"{name:28s} found {r['found']:.3f} early {r['early']:.3f} late {r['late']:.3f} missed {r['missed']:.3f} FA {r['fa']:.3f} delay {r['delay']:.0f}  n={r['n']}+{r['nn']}", flush=True)
