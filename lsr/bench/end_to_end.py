"""`lsr bench e2e`: from an LR image to an SR image of 1024 x 1024 pixels, in parts and in one call.

This is the size for which the paper states times.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lsr.bench.table import Bench, Table, say
from lsr.bench.timing import time_calls
from lsr.flow.samplers import sample_euler
from lsr.flow.timesteps import timestep_grid
from lsr.inference.sampling import super_resolve
from lsr.models.autoencoder_dc import DeepCompression
from lsr.models.checkpoint import load_denoiser
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import Model
from lsr.models.sizes import named_size

_OUTPUT = 1024
_TAGS = 16
_COLUMNS = ("part", "seconds", "% of total", "paper, hardware unstated", "remark")
_PAPER = {"one forward": 0.036, "total": 0.830}
"""Seconds that the LinearSR paper states for this size (arXiv 2510.08771).

It does not state hardware, precision and number of steps.
"""


class Part(NamedTuple):
    """One part of the way from LR to SR.

    Attributes:
        name: Name of the part.
        run: Function that runs the part once; None if it is not measured.
        remark: Text for the last column of the table.
    """

    name: str
    run: Callable[[], object] | None
    remark: str


@torch.no_grad()
def measure(bench: Bench) -> int:
    """Measure the suite and return 0: there is no reference that a result could differ from."""
    model, shift, name = model_of(bench)
    model = model.to(bench.device, bench.dtype)
    parts = _parts(bench, model, shift)
    title = f"{name}, x{model.config.scale} to {_OUTPUT} x {_OUTPUT}, one image"
    if not bench.large:
        title += "; these are not the paper's hardware nor its model: compare parts, not rows"
    say(f"\n{title}")
    table = Table(_COLUMNS)
    with torch.autocast(bench.device.type, bench.dtype, enabled=bench.dtype != torch.float32):
        seconds = {
            part.name: time_calls(part.run, bench.device, bench.seconds).seconds
            for part in parts
            if part.run is not None
        }
    for part in parts:
        table.add(_row(part, seconds))
    table.save(bench.out, "e2e", f"{bench.header}\n{title}")
    return 0


def model_of(bench: Bench) -> tuple[Model, float, str]:
    """Return the model to measure, the shift of its time steps, and its name.

    Raises:
        ValueError: The model file cannot be read, or its autoencoder is missing.
    """
    if bench.model is not None:
        model, shift = load_denoiser(bench.model)
        model.space.prepare()
        return model, shift, str(bench.model)
    name = bench.size or ("sana-1.6b" if bench.large else "tiny")
    denoiser = Denoiser(named_size(name)).eval().requires_grad_(False)
    if denoiser.config.autoencoder:
        denoiser.space = RandomDeepCompression()
    return denoiser, 3.0, f"{name}, random weights"


class RandomDeepCompression(DeepCompression):
    """The published autoencoder DC-AE f32c32 with random weights.

    It needs no download, and the time does not depend on the weights.
    """

    def __init__(self) -> None:
        super().__init__("random weights")

    def _load(self) -> Any:
        from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC

        blocks: Any = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
        widths = (128, 256, 512, 512, 1024, 1024)
        scales = ((),) * 3 + ((5,),) * 3
        return AutoencoderDC(
            encoder_block_types=blocks,
            decoder_block_types=blocks,
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            encoder_layers_per_block=(2, 2, 2, 3, 3, 3),
            decoder_layers_per_block=(3, 3, 3, 3, 3, 3),
            encoder_qkv_multiscales=scales,
            decoder_qkv_multiscales=scales,
            downsample_block_type="Conv",
            upsample_block_type="interpolate",
            scaling_factor=0.41407,
        )


def _parts(bench: Bench, model: Model, shift: float) -> list[Part]:
    """Return the parts in the order in which they run, then the whole as one call."""
    lr, context, noise = _inputs(bench, model)
    condition = model.condition(lr, context)
    grid = timestep_grid(bench.steps, shift)
    first = torch.ones(1, device=bench.device)

    def sample() -> Tensor:
        return sample_euler(lambda x, t: model(x, t, condition), noise, grid)

    def whole() -> Tensor:
        return super_resolve(model, lr, lambda _: noise, bench.steps, shift, context=context)

    given = f"not measured: {_TAGS} tags are given"
    tags = "the model takes no tags" if context is None else given
    encoded = "of the bicubic image" if model.config.residual_std else "nothing to do"
    return [
        Part("tagger", None, tags),
        Part("encode", lambda: model.condition(lr, context), encoded),
        Part("one forward", lambda: model(noise, first, condition), ""),
        Part(f"{bench.steps} steps", sample, "the features of the LR image are known"),
        Part("decode", lambda: model.decode(noise, condition), type(model.space).__name__),
        Part("total", whole, "one call, LR features included"),
    ]


def _inputs(bench: Bench, model: Model) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return an LR image in [-1, 1], the context (None without guidance), and noise."""
    device = bench.device
    generator = torch.Generator(device).manual_seed(0)
    config = model.config
    side = _OUTPUT // config.scale
    lr = torch.rand(1, 3, side, side, generator=generator, device=device) * 2 - 1
    context = None
    if config.context_dim:
        context = torch.randn(1, _TAGS, config.context_dim, generator=generator, device=device)
        if config.vocabulary:
            context = torch.arange(_TAGS, device=device)[None] % len(config.vocabulary)
    side = _OUTPUT // model.space.factor
    shape = 1, model.space.channels, side, side
    return lr, context, torch.randn(shape, generator=generator, device=device)


def _row(part: Part, seconds: dict[str, float]) -> dict[str, str]:
    row = {"part": part.name, "remark": part.remark}
    if part.run is not None:
        row["seconds"] = f"{seconds[part.name]:.4f}"
        row["% of total"] = f"{100 * seconds[part.name] / seconds['total']:.0f}"
    if part.name in _PAPER:
        row["paper, hardware unstated"] = f"{_PAPER[part.name]:.3f}"
    return row
