"""`lsr cache-latents`: encode the training crops of an experiment by its autoencoder in advance."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.commands.option_parser import OptionParser
from lsr.errors import DONE

if TYPE_CHECKING:
    from torch import Tensor

    from lsr.datasets.latents import LatentPlan
    from lsr.models.autoencoder_dc import DeepCompression


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr cache-latents",
        description="Encode the training crops of an experiment by its autoencoder: for every "
        "photograph the crops of its first DRAWS visits. Training with --data.latents OUT then "
        "needs no encoder. LR images are still degraded anew at every visit. A command that was "
        "stopped continues when it is run again.",
        examples=[
            "lsr cache-latents --config experiments/linearsr/stage1.yaml --out latents",
            "lsr cache-latents --config my.yaml --out latents --data.init_args.batch_size 8",
        ],
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="YAML file of the experiment; settings may follow as options, as for lsr fit",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="OUT",
        help="folder for latents.json and latents-*.safetensors",
    )
    parser.add_argument(
        "--draws", type=int, default=4, help="number of crops for each photograph (default 4)"
    )
    parser.add_argument("--device", help="cpu or cuda (default: cuda if there is a GPU)")
    parser.add_argument(
        "--compile", action="store_true", help="compile the autoencoder with torch.compile"
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb and return its exit code."""
    options, changes = parser().parse_known_args(arguments[1:])
    if options.draws < 1:
        raise ValueError(f"--draws must be at least 1, not {options.draws}")
    import torch

    from lsr.datasets.latents import LatentPlan
    from lsr.models.autoencoder_dc import DeepCompression
    from lsr.training.unstarted import read_data

    data, denoiser = read_data(["--config", options.config, *changes])
    if not denoiser.autoencoder:
        raise ValueError(
            f"{options.config} has no autoencoder (it works on pixels): there is nothing to "
            "encode; only models with model.denoiser.autoencoder need this command"
        )
    if not hasattr(data, "target_crops"):
        raise ValueError(
            f"{options.config}: the DataModule {type(data).__name__} has no crops to encode in "
            "advance; use datamodules.RealESRGANDataModule"
        )
    space = DeepCompression(denoiser.autoencoder, denoiser.latent_channels, denoiser.latent_factor)
    space.prepare(options.compile)
    crops = data.target_crops(options.draws)
    side, rest = divmod(data.crop_size, space.factor)
    if rest:
        raise ValueError(
            f"data.init_args.crop_size must be a multiple of {space.factor}, the side of a latent "
            f"position in pixels, not {data.crop_size}"
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
        with plan.claimed(options.out):
            _write_missing(
                options.out, plan, space, crops, device, data.batch_size, data.num_workers
            )
    except OSError as error:
        raise ValueError(
            f"{error.filename or options.out}: {error.strerror}; run the same command again to "
            "continue"
        ) from error
    size = sum((options.out / name).stat().st_size for name in plan.files()) / 2**20
    sys.stdout.write(
        f"{len(crops)} latents of {plan.photographs} photographs, {size:,.1f} MiB, "
        f"in {options.out}\n"
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
    """Encode the crops whose file is missing, file by file.

    A batch never spans two files: the rounding of a latent can depend on its batch, and a command
    that was stopped and continued must write the same bytes as one that was not.

    Args:
        out: Folder of the files.
        plan: The files and the crops in each of them.
        space: The autoencoder.
        crops: Dataset of the training crops, with `hr` images and their checksums `crc`.
        device: The device that computes.
        batch_size: Number of crops that are encoded together.
        num_workers: Number of processes that read photographs.
    """
    from torch.utils.data import DataLoader, Subset

    from lsr.console.progress_bar import progress_bar
    from lsr.datasets.latents import write_latents

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
