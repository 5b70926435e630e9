"""`lsr bench training`: operations, time and memory of a training step.

The memory is that of the activations that autograd keeps for the backward pass.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from lsr.bench.flops import forward_flops
from lsr.bench.table import Bench, Table
from lsr.bench.timing import now
from lsr.models.sizes import SIZES
from lsr.nn.dit import LinearDiT
from lsr.training.optimizer import OptimizerConfig, build_optimizer

_WARM_UP_STEPS = 2
_LEAST_STEPS = 3

_COLUMNS = (
    "transformer",
    "checkpointing",
    "M parameters",
    "images x tokens",
    "TFLOP",
    "KiB/token kept",
    "MiB kept",
    "peak MiB",
    "forward ms",
    "backward ms",
    "optimiser ms",
    "images/s",
    "MFU %",
)
_NOTE = (
    "TFLOP: of a step without what checkpointing computes again; MFU: these by time, over the "
    "measured matrix product"
)

Batch = tuple[Tensor, Tensor, Tensor, Tensor | None]
"""Noisy latents (B, C, side, side), times (B,), target velocities like the latents, context."""


@dataclass(frozen=True)
class Workload:
    """A transformer and the size of its batches.

    Attributes:
        name: Name in the table.
        width: Channels D of the transformer.
        depth: Blocks of the transformer.
        channels: Channels C of a latent.
        side: Latent positions per axis.
        batch: Images per batch B.
        context: Context tokens; 0 builds the transformer without cross-attention.
        cross_heads: Heads of the cross-attention.
        context_dim: Channels of the context.
        checkpointing: Whether gradient checkpointing is on.
    """

    name: str
    width: int
    depth: int
    channels: int
    side: int
    batch: int
    context: int = 0
    cross_heads: int = 4
    context_dim: int = 0
    checkpointing: bool = False

    def build(self, device: torch.device) -> LinearDiT:
        """Return the transformer; its weights are float32, as in training."""
        net = LinearDiT(
            self.channels,
            self.channels,
            self.width,
            self.depth,
            cross_heads=self.cross_heads,
            context_dim=self.context_dim if self.context else 0,
        )
        net.gradient_checkpointing = self.checkpointing
        return net.to(device)

    def loss(self, net: LinearDiT, batch: Batch, dtype: torch.dtype) -> Tensor:
        """Return the loss of a batch, computed with autocast to `dtype` as in training."""
        x, t, velocity, context = batch
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            predicted = net(x, t, context)
        return (predicted.float() - velocity).square().mean()

    def draw(self, device: torch.device) -> Batch:
        """Return a random batch, always the same one."""
        generator = torch.Generator(device).manual_seed(0)
        normal = partial(torch.randn, generator=generator, device=device)
        shape = self.batch, self.channels, self.side, self.side
        context = normal(self.batch, self.context, self.context_dim) if self.context else None
        return normal(*shape), normal(self.batch).sigmoid(), normal(*shape), context


def workloads(large: bool) -> list[tuple[Workload, bool]]:
    """Return the workloads, and whether each is timed.

    A workload that is not timed would take too long on this device, or is too small for it; its
    operations and its memory are still counted.

    Args:
        large: Whether the device is a GPU.
    """
    tiny = Workload("tiny, 64 x 64 pixels", width=64, depth=2, channels=192, side=8, batch=16)
    stack = Workload("four blocks, D 512", width=512, depth=4, channels=32, side=32, batch=1)
    sana = [
        Workload(
            name,
            width=size["width"],
            depth=size["depth"],
            channels=32,
            side=32,
            batch=8 if large else 1,
            context=300,
            cross_heads=size["cross_heads"],
            context_dim=size["context_dim"],
        )
        for name, size in SIZES.items()
        if name.startswith("sana")
    ]
    return [(tiny, not large), (stack, not large), *((workload, large) for workload in sana)]


def measure(bench: Bench) -> int:
    """Measure the suite and return 0: there is no reference that a result could differ from."""
    table = Table(_COLUMNS)
    for workload, timed in workloads(bench.large):
        for checkpointing in (False, True):
            chosen = replace(workload, checkpointing=checkpointing)
            flops, cells = _counted_cells(chosen, bench)
            if timed:
                cells |= _timed_cells(chosen, flops, bench)
            table.add(cells)
    table.save(bench.out, "training", f"{bench.header}\n{_NOTE}")
    return 0


def _counted_cells(workload: Workload, bench: Bench) -> tuple[int, dict[str, str]]:
    """Return the operations of a training step, and the cells that need no timing."""
    meta = torch.device("meta")
    with meta:
        net = workload.build(meta)
    tokens = workload.side**2
    # The backward pass needs twice the operations of the forward pass.
    flops = 3 * forward_flops(net, workload.batch, tokens, workload.context)
    per_token = bytes_per_token(workload, bench.device, bench.dtype)
    return flops, {
        "transformer": workload.name,
        "checkpointing": "yes" if workload.checkpointing else "no",
        "M parameters": f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f}",
        "images x tokens": f"{workload.batch} x {tokens}",
        "TFLOP": f"{flops / 1e12:.3f}",
        "KiB/token kept": f"{per_token / 2**10:.1f}",
        "MiB kept": f"{per_token * workload.batch * tokens / 2**20:.0f}",
    }


def _timed_cells(workload: Workload, flops: int, bench: Bench) -> dict[str, str]:
    step = time_step(workload, bench.device, bench.dtype, bench.seconds)
    cells = {
        "forward ms": f"{1e3 * step.forward:.1f}",
        "backward ms": f"{1e3 * step.backward:.1f}",
        "optimiser ms": f"{1e3 * step.optimiser:.1f}",
        "images/s": f"{workload.batch / step.seconds:.1f}",
        # Model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B), with the measured speed of
        # a matrix product in place of the peak of the data sheet.
        "MFU %": f"{100 * flops / step.seconds / bench.roofline.flops:.0f}",
    }
    if step.peak_bytes is not None:
        cells["peak MiB"] = f"{step.peak_bytes / 2**20:.0f}"
    return cells


def bytes_per_token(workload: Workload, device: torch.device, dtype: torch.dtype) -> float:
    """Return the bytes kept for the backward pass per latent position, in all blocks together.

    They are extrapolated from transformers of one and two blocks at two sizes: all blocks keep the
    same, and the difference between two sizes leaves out what does not grow with the image, such as
    copies of the weights in the precision of the products.
    """

    def growth(depth: int) -> float:
        net = replace(workload, depth=depth).build(device)
        kept = []
        for side in (4, 8):
            small = replace(workload, side=side, batch=1)
            kept.append(saved_bytes(net, partial(small.loss, net, small.draw(device), dtype)))
        return (kept[1] - kept[0]) / (8**2 - 4**2)

    one = growth(1)
    two = growth(2)
    return one + (workload.depth - 1) * (two - one)


def saved_bytes(net: LinearDiT, loss: Callable[[], Tensor]) -> int:
    """Return the bytes that autograd keeps between the forward and the backward pass.

    Every storage counts once, and weights do not count.

    Args:
        net: Module whose weights are left out.
        loss: Function that runs the forward pass and returns a loss with a graph.
    """
    weights = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss()  # keeps the graph alive, so that no address is used for two tensors
    assert value.grad_fn is not None
    return sum(kept.values())


@dataclass(frozen=True)
class Step:
    """Time and memory of a training step.

    Attributes:
        forward: Median seconds of the forward pass.
        backward: Median seconds of the backward pass.
        optimiser: Median seconds of the optimiser's step.
        peak_bytes: Highest memory allocated on the GPU; None on the CPU.
    """

    forward: float
    backward: float
    optimiser: float
    peak_bytes: int | None

    @property
    def seconds(self) -> float:
        """Seconds of the whole step."""
        return self.forward + self.backward + self.optimiser


def time_step(workload: Workload, device: torch.device, dtype: torch.dtype, seconds: float) -> Step:
    """Train a new transformer and time its steps.

    Args:
        workload: Transformer and size of its batches.
        device: Device to train on.
        dtype: Precision of autocast.
        seconds: Seconds to spend, after two steps for warming up; at least three steps are timed.
    """
    net = workload.build(device)
    batch = workload.draw(device)
    optimizer, _ = build_optimizer([net], OptimizerConfig())
    steps: list[tuple[float, float, float]] = []
    while (
        len(steps) < _WARM_UP_STEPS + _LEAST_STEPS
        or sum(map(sum, steps[_WARM_UP_STEPS:])) < seconds
    ):
        if len(steps) == _WARM_UP_STEPS and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = now(device)
        loss = workload.loss(net, batch, dtype)
        middle = now(device)
        loss.backward()
        end = now(device)
        optimizer.step()
        optimizer.zero_grad()
        steps.append((middle - start, end - middle, now(device) - end))
    parts = zip(*steps[_WARM_UP_STEPS:], strict=True)
    forward, backward, optimiser = (statistics.median(part) for part in parts)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    return Step(forward, backward, optimiser, peak)
