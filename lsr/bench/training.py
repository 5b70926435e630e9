"""What a training step costs: operations, time of its three parts, and the activations it keeps for its backward pass."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lsr.bench.flops import forward_flops
from lsr.bench.table import Bench, Table
from lsr.bench.timing import now
from lsr.models.sizes import SIZES
from lsr.nn.dit import LinearDiT
from lsr.training.optimizer import OptimizerConfig, build_optimizer

_LEAST_STEPS = 3


@dataclass(frozen=True)
class Workload:
    """A transformer and a batch for it.

    Attributes:
        name: In words.
        width: Channels D.
        depth: Blocks.
        channels: Of a latent.
        side: Latent positions along an axis.
        batch: Images.
        context: Context tokens; 0 builds the transformer without cross-attention.
        cross_heads: Heads of the cross-attention.
        context_dim: Channels of the context.
        checkpointing: Whether gradients are checkpointed.
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
        """Return the transformer, its weights in float32 as in training."""
        context_dim = self.context_dim if self.context else 0
        net = LinearDiT(
            self.channels,
            self.channels,
            self.width,
            self.depth,
            cross_heads=self.cross_heads,
            context_dim=context_dim,
        )
        net.gradient_checkpointing = self.checkpointing
        return net.to(device)

    def loss(
        self,
        net: LinearDiT,
        batch: tuple[Tensor, Tensor, Tensor, Tensor | None],
        dtype: torch.dtype,
    ) -> Tensor:
        """Return the loss of a batch in the mixed precision of training."""
        x, t, velocity, context = batch
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            predicted = net(x, t, context)
        return (predicted.float() - velocity).square().mean()

    def draw(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return inputs, times, targets and context."""
        normal = partial(
            torch.randn, generator=torch.Generator(device).manual_seed(0), device=device
        )
        shape = self.batch, self.channels, self.side, self.side
        context = normal(self.batch, self.context, self.context_dim) if self.context else None
        return normal(*shape), normal(self.batch).sigmoid(), normal(*shape), context


def saved_bytes(net: LinearDiT, loss: Callable[[], Tensor]) -> int:
    """Return the bytes that autograd keeps between the forward and the backward pass, weights left out, each storage once."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss()  # keeps the graph, so that no address is used twice
    assert value.grad_fn is not None
    return sum(kept.values())


def bytes_per_token(workload: Workload, device: torch.device, dtype: torch.dtype) -> float:
    """Return the bytes kept for backward per latent position, in all blocks together.

    From one and two blocks at two sizes: blocks are alike, and what does not grow with the picture, copies of the weights in the
    precision of the products for one, falls out.
    """

    def growth(depth: int) -> float:
        net = replace(workload, depth=depth).build(device)
        kept = []
        for side in (4, 8):
            small = replace(workload, side=side, batch=1)
            kept.append(saved_bytes(net, partial(small.loss, net, small.draw(device), dtype)))
        return (kept[1] - kept[0]) / (8**2 - 4**2)

    one, two = growth(1), growth(2)
    return one + (workload.depth - 1) * (two - one)


@dataclass(frozen=True)
class Step:
    """Median seconds of the parts of a training step, and the memory at its peak; None on the CPU."""

    forward: float
    backward: float
    optimiser: float
    peak_bytes: int | None

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.forward + self.backward + self.optimiser


def time_step(workload: Workload, device: torch.device, dtype: torch.dtype, seconds: float) -> Step:
    """Time training steps for about `seconds`, after two that do not count."""
    net, batch = workload.build(device), workload.draw(device)
    optimizer, _ = build_optimizer([net], OptimizerConfig())
    parts: list[tuple[float, float, float]] = []
    while len(parts) < 2 + _LEAST_STEPS or sum(map(sum, parts[2:])) < seconds:
        if len(parts) == 2 and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = now(device)
        loss = workload.loss(net, batch, dtype)
        middle = now(device)
        loss.backward()
        end = now(device)
        optimizer.step()
        optimizer.zero_grad()
        parts.append((middle - start, end - middle, now(device) - end))
    forward, backward, optimiser = (
        statistics.median(part) for part in zip(*parts[2:], strict=True)
    )
    return Step(
        forward,
        backward,
        optimiser,
        torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
    )


def workloads(large: bool) -> list[tuple[Workload, bool]]:
    """Return what is measured, and whether it is timed: on a CPU what would take too long there is counted alone."""
    tiny = Workload("tiny, 64 x 64 pixels", 64, 2, 192, 8, 16)
    stack = Workload("four blocks, D 512", 512, 4, 32, 32, 1)
    named = [
        Workload(
            name,
            size["width"],
            size["depth"],
            32,
            32,
            8 if large else 1,
            300,
            size["cross_heads"],
            size["context_dim"],
        )
        for name, size in SIZES.items()
        if name.startswith("sana")
    ]
    return [*((work, not large) for work in (tiny, stack)), *((work, large) for work in named)]


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


def training(bench: Bench) -> int:
    """Measure, print and write the suite; no result can be wrong here."""
    table = Table(_COLUMNS)
    for workload, timed in workloads(bench.large):
        with torch.device("meta"):
            net = workload.build(torch.device("meta"))
        flops = 3 * forward_flops(net, workload.batch, workload.side**2, workload.context)
        for checkpointing in (False, True):
            chosen = replace(workload, checkpointing=checkpointing)
            per_token = bytes_per_token(chosen, bench.device, bench.dtype)
            row: dict[str, Any] = {
                "transformer": chosen.name,
                "checkpointing": "yes" if checkpointing else "no",
                "M parameters": f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f}",
                "images x tokens": f"{chosen.batch} x {chosen.side**2}",
                "TFLOP": f"{flops / 1e12:.3f}",
                "KiB/token kept": f"{per_token / 2**10:.1f}",
                "MiB kept": f"{per_token * chosen.batch * chosen.side**2 / 2**20:.0f}",
            }
            if timed:
                step = time_step(chosen, bench.device, bench.dtype, bench.seconds)
                row |= {
                    "peak MiB": "" if step.peak_bytes is None else f"{step.peak_bytes / 2**20:.0f}",
                    "forward ms": f"{1e3 * step.forward:.1f}",
                    "backward ms": f"{1e3 * step.backward:.1f}",
                    "optimiser ms": f"{1e3 * step.optimiser:.1f}",
                    "images/s": f"{chosen.batch / step.seconds:.1f}",
                    "MFU %": f"{100 * flops / step.seconds / bench.roofline.flops:.0f}",
                }
            table.add(row)
    note = "TFLOP: of a step without what checkpointing computes again; MFU: these by time, over the measured matrix product"
    table.save(bench.out, "training", f"{bench.header}\n{note}")
    return 0
