"""Describe every prefix of fresh runs: for choosing and testing the decision rule."""
import sys, math, time as clock, pickle
import numpy as np
from prefixes import prepare
from lsr.knee.features import describe
from lsr.knee.simulator import simulate

def sequence(steps, vals, metrics):
    """All prefixes k>=7: (features, T, offsets)"""
    feats, ks = [], []
    n = len(steps)
    for k in range(7, n + 1):
        p = prepare(metrics, steps[:k], vals[:, :k].T)
        if p is None: continue
        time, norm, cons, half, per = p
        feats.append(describe(time, norm, cons, half).astype(np.float32)); ks.append((k, steps[k-1]-time[-1], cons.arrival))
    return np.array(feats), ks

def make(seed, n, families=None, maxlen=260):
    g = np.random.default_rng(seed); out = []
    while len(out) < n:
        c = simulate(g, families)
        if c.steps[-1] < c.knee < 1.25 * c.steps[-1]: continue
        if len(c.steps) > maxlen: continue
        vals = c.values * np.array([1 if d == "max" else -1 for d in c.directions])[:, None]
        known = np.isfinite(vals).any(axis=0)
        st, v = c.steps[known], vals[:, known]
        F, ks = sequence(st, v, c.metrics)
        out.append(dict(F=F, ks=ks, steps=st, knee=c.knee, tol=c.tolerance, family=c.family, traits=c.traits, has=c.has_knee, metrics=len(c.directions)))
    return out

if __name__ == "__main__":
    t = clock.time()
    o = make(int(sys.argv[1]), int(sys.argv[2]))
    pickle.dump(o, open(sys.argv[3], "wb"))
    print("sequences", len(o), sum(len(x["ks"]) for x in o), clock.time() - t)
