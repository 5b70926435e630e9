"""Simulate runs and describe their prefixes: the training set of `experiments/knee/train.py`."""
import sys, math, time as clock
import numpy as np
from lsr.knee.consensus import Consensus, measure_metrics
from lsr.knee.features import describe
from lsr.knee.signal import SMOOTHING
from lsr.knee.simulator import simulate

FUTURE = (1.5, 2.0)

def prepare(metrics, steps, rows):
    steps = np.asarray(steps, dtype=np.float64)
    interval = float(np.median(np.diff(steps))) if len(steps) > 1 else 1.0
    time = np.maximum(steps - max(0.0, steps[0] - interval), 1e-3 * interval)
    half = max(1, int(SMOOTHING * len(time)))
    per, norm = measure_metrics(metrics, steps, rows, time, half)
    if not norm:
        return None
    cons = Consensus.of(time, norm, half)
    return time, norm, cons, half, per

def run(seed, curves):
    g = np.random.default_rng(seed)
    X, meta, fams = [], [], []
    for c in range(curves):
        cur = simulate(g)
        n = len(cur.steps)
        ks = np.unique(np.round(7 * 1.5 ** (np.arange(0, 12) + g.random()) ).astype(int))
        vals = cur.values * np.array([1 if d == "max" else -1 for d in cur.directions])[:, None]
        known = np.isfinite(vals).any(axis=0)
        steps, vals = cur.steps[known], vals[:, known]
        n = len(steps)
        for k in ks[ks <= n]:
            p = prepare(cur.metrics, steps[:k], vals[:, :k].T)
            if p is None: continue
            time, norm, cons, half, per = p
            f = describe(time, norm, cons, half)
            off = steps[k-1] - time[-1]
            T = time[-1]
            pts = cur.truth(np.array([off + time[cons.base], off + T, off + 1.5*T, off + 2*T]))
            gain = np.maximum(pts[:, 1] - pts[:, 0], 0.05)
            future = np.median((pts[:, 2:] - pts[:, 1:2]) / gain[:, None], axis=0)
            lo, hi = cur.tolerance
            if math.isfinite(cur.knee):
                y = [max(lo-off, 1e-3*T)/T, max(cur.knee-off,1e-3*T)/T, max(hi-off,1e-3*T)/T]
            else: y = [1e6, 1e6, 1e6]
            X.append(f.astype(np.float32)); meta.append([*y, *future, c, k, float(np.median(np.diff(time)))/T]); fams.append(cur.family)
    return np.array(X), np.array(meta), np.array(fams)

if __name__ == "__main__":
    seed, n, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    t = clock.time()
    X, m, f = run(seed, n)
    np.savez(out, X=X, meta=m, fam=f)
    print(seed, X.shape, (clock.time()-t)/len(X)*1e3, "ms per prefix")
