"""What experts cost at a step: the operations and the time of one denoiser, at every time; only memory grows with their number."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lsr.bench.cases import randomise
from lsr.bench.table import Bench, Table, say
from lsr.bench.timing import measure
from lsr.flow.snr import PUBLISHED
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import ExpertMixture, Model
from lsr.models.sizes import named_size

_COLUMNS = (
    "model",
    "t",
    "M parameters",
    "of them at work",
    "GFLOP",
    "ms",
    "times one denoiser",
    "error",
)


def flops_of(step: Callable[[], object]) -> int:
    """Return the operations that torch counts in a call."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def copies_of(denoiser: Denoiser) -> ExpertMixture:
    """Return the published four experts, each a copy of `denoiser`, as stage 2 begins."""
    mixture = ExpertMixture(denoiser.config, PUBLISHED)
    for i in range(len(mixture.experts)):
        mixture.expert(i).load_state_dict(denoiser.state_dict())
    return mixture


def _millions(module: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()) / 1e6:.2f}"


@torch.no_grad()
def experts(bench: Bench) -> int:
    """Measure, print and write the suite; returns the number of experts that do not compute what the denoiser does."""
    config = named_size("sana-0.6b" if bench.large else "small")
    lr_side = 256 if bench.large else 64
    denoiser = Denoiser(config).to(bench.device).eval()
    randomise(denoiser, torch.Generator(bench.device).manual_seed(0))
    mixture = copies_of(denoiser).to(bench.device)
    generator = torch.Generator(bench.device).manual_seed(0)
    lr = torch.rand(1, 3, lr_side, lr_side, generator=generator, device=bench.device) * 2 - 1
    side = lr_side // denoiser.lr_multiple
    noise = torch.randn(
        1, denoiser.space.channels, side, side, generator=generator, device=bench.device
    )
    half = torch.autocast(bench.device.type, bench.dtype, enabled=bench.dtype != torch.float32)

    def step_of(model: Model, t: float) -> Callable[[], Tensor]:
        condition, times = model.condition(lr), torch.full((1,), t, device=bench.device)
        return lambda: model(noise, times, condition)

    say(f"\n{len(noise)} image, {side**2} tokens, {len(mixture.experts)} experts")
    table = Table(_COLUMNS)
    wrong = 0
    with half:
        for i in range(len(mixture.experts)):
            t = sum(mixture.interval(i)) / 2
            alone, routed = step_of(denoiser, t), step_of(mixture, t)
            error = (routed() - alone()).abs().max().item()
            seconds = [
                measure(step, bench.device, bench.seconds / 4).seconds for step in (alone, routed)
            ]
            named = (
                ("one denoiser", alone, denoiser),
                (f"expert {i} of the mixture", routed, mixture),
            )
            for (name, step, model), taken in zip(named, seconds, strict=True):
                table.add(
                    {
                        "model": name,
                        "t": f"{t:.3f}",
                        "M parameters": _millions(model),
                        "of them at work": _millions(denoiser),
                        "GFLOP": f"{flops_of(step) / 1e9:.3f}",
                        "ms": f"{1e3 * taken:.2f}"
                        if error == 0
                        else "WRONG: not what the denoiser computes",
                        "times one denoiser": f"{taken / seconds[0]:.2f}",
                        "error": f"{error:.1e}",
                    }
                )
            wrong += error != 0
    table.save(bench.out, "experts", bench.header)
    return wrong
