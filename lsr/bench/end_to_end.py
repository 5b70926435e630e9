"""The paper's row: from an LR image of 256 x 256 pixels to 1024 x 1024, part by part and as one call."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lsr.bench.table import Bench, Table, say
from lsr.bench.timing import measure
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
_PAPER = {"one forward": 0.036, "total": 0.830}
"""Seconds of LinearSR at this size (arXiv 2510.08771); hardware, precision and number of steps are not stated."""


class RandomDeepCompression(DeepCompression):
    """DC-AE f32c32 as published but for its weights, which are random: time does not depend on them."""

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


def model_of(bench: Bench) -> tuple[Model, float, str]:
    """Return the model to measure, its shift and what to call it.

    Raises:
        ValueError: If its file cannot be read, or its autoencoder is missing.
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


@torch.no_grad()
def e2e(bench: Bench) -> int:
    """Measure, print and write the suite; no result can be wrong here."""
    model, shift, name = model_of(bench)
    model = model.to(bench.device, bench.dtype)
    generator = torch.Generator(bench.device).manual_seed(0)
    scale, space = model.config.scale, model.space
    lr = (
        torch.rand(
            1, 3, _OUTPUT // scale, _OUTPUT // scale, generator=generator, device=bench.device
        )
        * 2
        - 1
    )
    context = None
    if model.config.context_dim:
        context = torch.randn(
            1, _TAGS, model.config.context_dim, generator=generator, device=bench.device
        )
        if model.config.vocabulary:
            context = torch.arange(_TAGS, device=bench.device)[None] % len(model.config.vocabulary)
    side = _OUTPUT // space.factor
    noise = torch.randn(1, space.channels, side, side, generator=generator, device=bench.device)
    grid = timestep_grid(bench.steps, shift)
    first = torch.ones(1, device=bench.device)

    condition = model.condition(lr, context)

    def sample() -> Tensor:
        return sample_euler(lambda x, t: model(x, t, condition), noise, grid)

    def whole() -> Tensor:
        return super_resolve(model, lr, lambda _: noise, bench.steps, shift, context=context)

    parts: list[tuple[str, Callable[[], object] | None, str]] = [
        (
            "tagger",
            None,
            f"not measured: {_TAGS} tags are given"
            if context is not None
            else "the model takes no tags",
        ),
        (
            "encode",
            lambda: model.condition(lr, context),
            "of the bicubic image" if model.config.residual_std else "nothing to do",
        ),
        ("one forward", lambda: model(noise, first, condition), ""),
        (f"{bench.steps} steps", sample, "the features of the LR image are known"),
        ("decode", lambda: model.decode(noise, condition), type(space).__name__),
        ("total", whole, "one call, LR features included"),
    ]
    caution = (
        ""
        if bench.large
        else "; these are not the paper's hardware nor its model: compare parts, not rows"
    )
    header = f"{bench.header}\n{name}, x{scale} to {_OUTPUT} x {_OUTPUT}, one image{caution}"
    say(f"\n{header.splitlines()[-1]}")
    table = Table(("part", "seconds", "% of total", "paper, hardware unstated", "remark"))
    with torch.autocast(bench.device.type, bench.dtype, enabled=bench.dtype != torch.float32):
        seconds = {
            part: measure(run, bench.device, bench.seconds).seconds
            for part, run, _ in parts
            if run is not None
        }
    for part, run, remark in parts:
        table.add(
            {
                "part": part,
                "seconds": "" if run is None else f"{seconds[part]:.4f}",
                "% of total": ""
                if run is None
                else f"{100 * seconds[part] / seconds['total']:.0f}",
                "paper, hardware unstated": f"{_PAPER[part]:.3f}" if part in _PAPER else "",
                "remark": remark,
            }
        )
    table.save(bench.out, "e2e", header)
    return 0
