"""Fit the network (torch) on described prefixes."""
import numpy as np

SEEN = np.geomspace(1 / 32, 1, 41)
EDGES = np.concatenate([SEEN, [1.25, 1.6, 2.2, 3.2, 5.0, 8.0]])  # bins = len + 1
BINS = len(EDGES) + 1
QUANTILES = (0.1, 0.5, 0.9)

def targets(meta):
    bins = np.stack([np.searchsorted(EDGES, meta[:, i], side="left") for i in range(3)], 1)
    future = np.arcsinh(np.clip(meta[:, 3:5], -5, 20) * 10) 
    return bins, future

def fit(X, meta, hidden=192, epochs=14, lr=2e-3, seed=0, batch=512, wd=2e-2, verbose=True, drop=0.0, valid=None, layers=2):
    import torch, time
    torch.manual_seed(seed); torch.set_num_threads(1)
    g = torch.Generator().manual_seed(seed)
    mean, std = X.mean(0), X.std(0) + 1e-3
    Z = torch.from_numpy(np.clip((X - mean) / std, -5, 5).astype(np.float32))
    b, fut = targets(meta)
    B = torch.from_numpy(b); Fu = torch.from_numpy(fut.astype(np.float32))
    d = X.shape[1]
    mods = []
    width = d
    for _ in range(layers):
        mods += [torch.nn.Linear(width, hidden), torch.nn.ReLU()]
        if drop: mods.append(torch.nn.Dropout(drop))
        width = hidden
    net = torch.nn.Sequential(*mods, torch.nn.Linear(width, 3 * BINS + 6))
    opt = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=wd)
    n = len(Z); per = (n + batch - 1) // batch
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=per * epochs, pct_start=0.1)
    q = torch.tensor(QUANTILES)
    def loss_of(z, bb, ff):
        o = net(z)
        ce = sum(torch.nn.functional.cross_entropy(o[:, i*BINS:(i+1)*BINS], bb[:, i]) for i in range(3))
        p = o[:, 3*BINS:].reshape(-1, 2, 3)
        e = ff[:, :, None] - p
        pin = torch.maximum(q * e, (q - 1) * e).mean()
        return ce, pin
    for ep in range(epochs):
        t = time.time(); tot = 0
        net.train()
        for idx in torch.randperm(n, generator=g).split(batch):
            ce, pin = loss_of(Z[idx], B[idx], Fu[idx])
            opt.zero_grad(); (ce + 3 * pin).backward(); opt.step(); sched.step()
            tot += ce.item() * len(idx)
        if verbose:
            s = f"epoch {ep} train {tot/n:.4f} {time.time()-t:.0f}s"
            if valid is not None:
                net.eval()
                with torch.no_grad():
                    Zv = torch.from_numpy(np.clip((valid[0] - mean) / std, -5, 5).astype(np.float32))
                    bv, fv = targets(valid[1])
                    ce, pin = loss_of(Zv, torch.from_numpy(bv), torch.from_numpy(fv.astype(np.float32)))
                s += f" valid {ce.item():.4f} pin {pin.item():.4f}"
            print(s, flush=True)
    W = [(m.weight.detach().numpy().T.copy(), m.bias.detach().numpy().copy()) for m in net if isinstance(m, torch.nn.Linear)]
    return dict(mean=mean, std=std, layers=W)

def forward(model, X):
    h = np.clip((X - model["mean"]) / model["std"], -5, 5)
    for i, (w, b) in enumerate(model["layers"]):
        h = h @ w + b
        if i < len(model["layers"]) - 1: h = np.maximum(h, 0)
    return h

def distributions(out):
    """-> P(bin) for lo, knee, hi: (n, 3, BINS)"""
    o = out[..., :3*BINS].reshape(*out.shape[:-1], 3, BINS)
    o = o - o.max(-1, keepdims=True)
    p = np.exp(o); return p / p.sum(-1, keepdims=True)

def predict(models, X):
    p = np.mean([distributions(forward(m, X)) for m in models], 0)
    return p

def load(paths):
    D = [np.load(p) for p in paths]
    off = 0; metas = []
    for d in D:
        m = d["meta"].copy(); m[:, 5] += off; off = m[:, 5].max() + 1; metas.append(m)
    return np.concatenate([d["X"] for d in D]), np.concatenate(metas), np.concatenate([d["fam"] for d in D])
