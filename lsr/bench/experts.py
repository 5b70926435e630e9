"""`lsr bench experts`: the time of a sampling step of an expert mixture and of one denoiser.

A sampling step at time t runs only the expert for this t. Operations and time should therefore be
those of a single denoiser; only the memory for the weights grows with the number of experts.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lsr.bench.cases import randomise
from lsr.bench.flops import counted_flops
from lsr.bench.table import Bench, Table, say
from lsr.bench.timing import time_calls
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

Step = Callable[[], Tensor]


@torch.no_grad()
def measure(bench: Bench) -> int:
    """Measure one denoiser and a mixture of copies of it, at a time t of each expert.

    Args:
        bench: Settings of the run.

    Returns:
        The number of experts with a wrong result: different from the result of the denoiser.
    """
    denoiser = Denoiser(named_size("sana-0.6b" if bench.large else "small"))
    denoiser = denoiser.to(bench.device).eval()
    randomise(denoiser, torch.Generator(bench.device).manual_seed(0))
    mixture = copies_of(denoiser).to(bench.device)
    lr, noise = _inputs(bench, denoiser)
    tokens = noise.shape[-2] * noise.shape[-1]
    say(f"\n{len(noise)} image, {tokens} tokens, {len(mixture.experts)} experts")
    table = Table(_COLUMNS)
    wrong = 0
    with torch.autocast(bench.device.type, bench.dtype, enabled=bench.dtype != torch.float32):
        for index in range(len(mixture.experts)):
            t = sum(mixture.interval(index)) / 2
            alone = _step(denoiser, lr, noise, t)
            routed = _step(mixture, lr, noise, t)
            error = (routed() - alone()).abs().max().item()
            seconds = time_calls(alone, bench.device, bench.seconds / 4).seconds
            routed_seconds = time_calls(routed, bench.device, bench.seconds / 4).seconds
            same = {
                "t": f"{t:.3f}",
                "of them at work": _millions(denoiser),
                "error": f"{error:.1e}",
            }
            for name, step, model, taken in (
                ("one denoiser", alone, denoiser, seconds),
                (f"expert {index} of the mixture", routed, mixture, routed_seconds),
            ):
                cells = {
                    "model": name,
                    "M parameters": _millions(model),
                    "GFLOP": f"{counted_flops(step) / 1e9:.3f}",
                    "ms": _time_or_refusal(taken, error),
                    "times one denoiser": f"{taken / seconds:.2f}",
                }
                table.add(same | cells)
            wrong += error != 0
    table.save(bench.out, "experts", bench.header)
    return wrong


def copies_of(denoiser: Denoiser) -> ExpertMixture:
    """Return a mixture with the four time intervals of the paper; each expert copies `denoiser`."""
    mixture = ExpertMixture(denoiser.config, PUBLISHED)
    for i in range(len(mixture.experts)):
        mixture.expert(i).load_state_dict(denoiser.state_dict())
    return mixture


def _inputs(bench: Bench, denoiser: Denoiser) -> tuple[Tensor, Tensor]:
    """Return an LR image (1, 3, h, w) in [-1, 1] and noise of the shape of its HR latent."""
    side = 256 if bench.large else 64
    generator = torch.Generator(bench.device).manual_seed(0)
    lr = torch.rand(1, 3, side, side, generator=generator, device=bench.device) * 2 - 1
    side //= denoiser.lr_multiple
    shape = 1, denoiser.space.channels, side, side
    return lr, torch.randn(shape, generator=generator, device=bench.device)


def _step(model: Model, lr: Tensor, noise: Tensor, t: float) -> Step:
    """Return a function that evaluates a model once at time `t`."""
    condition = model.condition(lr)
    times = torch.full((1,), t, device=noise.device)
    return lambda: model(noise, times, condition)


def _millions(module: nn.Module) -> str:
    """Return the number of parameters in millions, as a cell of the table."""
    return f"{sum(parameter.numel() for parameter in module.parameters()) / 1e6:.2f}"


def _time_or_refusal(seconds: float, error: float) -> str:
    """Return the time in milliseconds, or a warning if the results differ."""
    return f"{1e3 * seconds:.2f}" if error == 0 else "WRONG: differs from the denoiser"
