"""`lsr cache-latents`: the training targets of an experiment through its autoencoder, once, for training to read."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.exit_codes import DONE

if TYPE_CHECKING:
    from torch import Tensor

    from lsr.datasets.latents import LatentPlan
    from lsr.models.autoencoder_dc import DeepCompression


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr cache-latents",
        description="Encode the training crops of an experiment: of every photograph the crops of its first DRAWS visits. Training with "
        "--data.latents OUT then leaves the encoder out; LR images are degraded anew at every visit, as without. A run that was stopped "
        "continues where it was.",
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="the experiment; any of its settings may follow, as for lsr fit",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="OUT",
        help="folder for latents.json and latents-*.safetensors",
    )
    parser.add_argument("--draws", type=int, default=4, help="crops of each photograph (default 4)")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    parser.add_argument("--compile", action="store_true", help="compile the autoencoder")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options, changes = _parser().parse_known_args(arguments[1:])
    if options.draws < 1:
        raise ValueError(f"--draws must be at least 1, not {options.draws}")
    import torch

    from lsr.datasets.latents import LatentPlan
    from lsr.models.autoencoder_dc import DeepCompression
    from lsr.training.cli import read_data

    data, denoiser = read_data(["--config", options.config, *changes])
    if not denoiser.autoencoder:
        raise ValueError(
            f"{options.config} works on the pixels themselves: there is nothing to encode"
        )
    if not hasattr(data, "target_crops"):
        raise ValueError(
            f"{type(data).__name__} has no crops to encode beforehand; datamodules.RealESRGANDataModule has"
        )
    space = DeepCompression(denoiser.autoencoder, denoiser.latent_channels, denoiser.latent_factor)
    space.prepare(options.compile)
    crops = data.target_crops(options.draws)
    side, rest = divmod(data.crop_size, space.factor)
    if rest:
        raise ValueError(
            f"crop_size {data.crop_size} is not a multiple of the {space.factor} pixels of a latent position"
        )
    plan = LatentPlan.of(
        space.identity(),
        crops.identity,
        options.draws,
        len(crops) // options.draws,
        (space.channels, side, side),
    )
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        plan.claim(options.out)
        _write_missing(options.out, plan, space, crops, device, data.batch_size, data.num_workers)
    except OSError as error:
        raise ValueError(
            f"{error.filename or options.out}: {error.strerror}; run again to continue"
        ) from error
    size = sum((options.out / name).stat().st_size for name in plan.files()) / 2**20
    sys.stdout.write(
        f"{len(crops)} latents of {plan.photographs} photographs, {size:,.1f} MiB, in {options.out}\n"
    )
    return DONE


def _write_missing(
    out: Path,
    plan: "LatentPlan",
    space: "DeepCompression",
    crops: Any,
    device: Any,
    batch_size: int,
    num_workers: int,
) -> None:
    """Encode what is not there yet, file by file; no batch crosses a file, so that a broken run writes the bytes of an unbroken one."""
    from torch.utils.data import DataLoader, Subset

    from lsr.datasets.latents import write_latents
    from lsr.progress_bar import progress_bar

    missing = plan.missing(out)
    with progress_bar("encoding", sum(map(len, missing.values())), "crops") as bar:
        for name, rows in missing.items():
            latents: list[Tensor] = []
            crcs: list[Tensor] = []
            for batch in DataLoader(Subset(crops, rows), batch_size, num_workers=num_workers):
                latents.append(space.encode(batch["hr"].to(device)).cpu())
                crcs.append(batch["crc"])
                bar.advance(len(crcs[-1]))
            write_latents(out / name, latents, crcs)
