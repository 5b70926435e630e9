"""Write the tables and the pictures of `make tag-proof`.

    python experiments/guidance_proof/report.py [runs/guidance_proof]

Reads the runs of the experiments in this folder; writes `report.md`, `textures.png` and
`learning.png` beside them.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from recognition import Recogniser, grey, kind_of, recogniser
from textures import KINDS, SPLITS
from torch import Tensor
from torch.utils.data import default_collate

from datamodules.crops import FixedCrops
from datamodules.image_source import ImageSource
from lsr.batch import Context
from lsr.degradations import DegradationConfig
from lsr.figures import COLOURS, hide_top_and_right, new_figure, save_png
from lsr.files import atomic_path
from lsr.flow.noise import seeded_normal
from lsr.guidance.context import context_encoder, encode, shuffled
from lsr.images.resampling import upsample_bicubic
from lsr.inference.sampling import super_resolve
from lsr.models.checkpoint import load_denoiser
from lsr.models.mixture import Model
from lsr.runs.history import RunLog
from lsr.runs.table import markdown_table
from lsr.training.validation_loss import OTHER_CONTEXT, loss_at_times

ARMS = ("tags", "caption", "shuffled", "none")
"""The experiments of this folder."""

TIMES = (0.125, 0.375, 0.625, 0.875)
"""Times of the losses before the shift, those of `val/loss`."""

STEPS = 20
"""Sampling steps of the pictures."""


class Judged(NamedTuple):
    """The losses (N,) of a trained model on the N validation crops.

    Attributes:
        own: With the guidance of the crop itself.
        swapped: With that of the next crop, which is of another kind; equal without guidance.
    """

    own: Tensor
    swapped: Tensor


def fixed_pairs(experiment: Path, split: str = "val") -> dict[str, Any]:
    """Return the crops of a split, with fixed degradations, as one batch of `lsr.batch.Batch`."""
    data = yaml.safe_load(experiment.read_text())["data"]["init_args"]
    degradation = DegradationConfig.preset(
        data["degradation"], scale=data["scale"], **data["degradation_changes"]
    )
    side = SPLITS[split][2]
    source = ImageSource(data[split], side, tags_file=data["tags_file"])
    crops = FixedCrops(source, degradation, side, seed=0, max_images=None)
    return default_collate([crops[i] for i in range(len(crops))])


def guidance(model: Model, texts: Sequence[str], lr: Tensor) -> Context | None:
    """Return the context of texts for a model; None if it has no guidance."""
    encoder = context_encoder(model.config)
    return None if encoder is None else encode(encoder, texts, lr)


def judge(checkpoint: Path, batch: dict[str, Any]) -> Judged:
    """Return the losses of a trained model."""
    model, shift = load_denoiser(checkpoint)
    context = guidance(model, batch["tags"], batch["lr"])

    def losses(seen: Context | None) -> Tensor:
        return loss_at_times(model, batch, _noise(batch, 1), TIMES, shift, seen).mean(1)

    return Judged(losses(context), losses(context and shuffled(context)))


def _noise(batch: Mapping[str, Any], stream: int) -> Any:
    return lambda shape: seeded_normal(batch["seed"], shape, stream, torch.device("cpu"))


def in_words(difference: Tensor) -> str:
    """Return the mean of differences (N,) and how many standard errors it is from 0."""
    mean = difference.mean().item()
    error = difference.std().item() / len(difference) ** 0.5
    return f"{mean:+.4f} ({mean / max(error, 1e-12):.1f})"


def write_losses(judged: Mapping[tuple[str, str], Judged], seeds: Sequence[str]) -> str:
    """Return a Markdown table of losses with true tags and what other guidance adds."""
    header = [
        "seed",
        "loss, true tags",
        "shuffled - true",
        "none - true",
        "caption - true",
        "another kind's tag - true",
        "another kind's caption - caption",
    ]
    rows = []
    for seed in seeds:
        true, caption = judged["tags", seed], judged["caption", seed]
        cells = [seed, f"{true.own.mean():.4f}"]
        for arm in ("shuffled", "none", "caption"):
            cells.append(in_words(judged[arm, seed].own - true.own))
        cells += [in_words(each.swapped - each.own) for each in (true, caption)]
        rows.append(cells)
    return markdown_table(header, rows) + "\n"


class Curve(NamedTuple):
    """Validation losses of one kind of guidance by step, means over the seeds.

    Attributes:
        loss: With the guidance of the crop itself.
        swapped: What the guidance of another kind adds to it.
    """

    loss: dict[int, float]
    swapped: dict[int, float]


def read_curve(folder: Path, seeds: Sequence[str]) -> Curve:
    """Return the curves of an experiment from the logs of its runs."""
    logs = [RunLog.read(folder / seed).scalars for seed in seeds]

    def mean(name: str) -> dict[int, float]:
        return {step: float(np.mean([log[name][step] for log in logs])) for step in logs[0][name]}

    own, other = mean("val/loss"), mean(f"val/{OTHER_CONTEXT}")
    return Curve(own, {step: other[step] - loss for step, loss in own.items()})


def write_curves(tags: Curve, caption: Curve) -> str:
    """Return a Markdown table of the learning curves."""
    header = [
        "step",
        "loss, tags",
        "loss, captions",
        "another kind adds, tags",
        "another kind adds, captions",
    ]
    rows = []
    for step, loss in tags.loss.items():
        values = (loss, caption.loss[step], tags.swapped[step], caption.swapped[step])
        rows.append([str(step), *(f"{value:.4f}" for value in values)])
    return markdown_table(header, rows) + "\n"


def draw_curves(curves: Mapping[str, Curve], path: Path) -> None:
    """Draw what the guidance of another kind adds to the loss, over the steps."""
    figure = new_figure(5, 3.2, dpi=120, layout="constrained")
    axes = figure.subplots()
    for colour, (name, curve) in zip(COLOURS, curves.items(), strict=False):
        axes.plot(*zip(*curve.swapped.items(), strict=True), color=colour, label=name)
    axes.set(xlabel="step", ylabel="loss with another kind's - own")
    axes.legend(frameon=False)
    hide_top_and_right(axes)
    save_png(figure, path)


def sample(checkpoint: Path, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return SR images (N, 3, H, W) of a batch for each tag."""
    model, shift = load_denoiser(checkpoint)
    found: dict[str, Tensor] = {}
    for kind in KINDS:
        context = guidance(model, [kind] * len(batch["lr"]), batch["lr"])
        assert context is not None
        found[kind] = super_resolve(
            model,
            batch["lr"],
            _noise(batch, 2),
            STEPS,
            shift,
            context=context.tokens,
            mask=context.mask,
        )
    return found


def write_recognition(
    taught: Mapping[str, Any], batch: Mapping[str, Any], sampled: Mapping[str, Tensor]
) -> str:
    """Return how often the kind of a picture is recognised, as a Markdown table.

    Args:
        taught: Training pairs, which teach the judges: one for HR and one for LR images.
        batch: Test pairs.
        sampled: SR images of the test pairs for each tag.
    """
    known, kinds = ([kind_of(name) for name in each["name"]] for each in (taught, batch))
    of_hr = recogniser(taught["hr"], known)
    of_lr = recogniser(upsample_bicubic(taught["lr"], 4), known)
    own: list[bool] = []
    swapped: list[bool] = []
    for tag, pictures in sampled.items():
        for kind, picture in zip(kinds, grey(pictures), strict=True):
            (own if kind == tag else swapped).append(of_hr(picture) == tag)
    lr = upsample_bicubic(batch["lr"], 4)
    hits = {
        "HR crop, as its own kind": _hits(of_hr, batch["hr"], kinds),
        "LR image, by a judge of LR images, as its own kind": _hits(of_lr, lr, kinds),
        "sampled with its own tag, as this kind": own,
        "sampled with another tag, as the kind of that tag": swapped,
    }
    rows = [(name, f"{100 * np.mean(each):.0f} %") for name, each in hits.items()]
    return markdown_table(["picture", "recognised"], rows) + "\n"


def _hits(judge_kind: Recogniser, pictures: Tensor, kinds: Sequence[str]) -> list[bool]:
    return [judge_kind(one) == kind for one, kind in zip(grey(pictures), kinds, strict=True)]


def draw_textures(
    batch: Mapping[str, Any], sampled: Mapping[str, Tensor], path: Path, turn: int = 0
) -> None:
    """Draw one crop of each kind: LR, sampled with each tag, HR."""
    rows = [batch["name"].index(name) for name in batch["name"] if f"{turn:02d}-" in name]
    columns = {"LR": upsample_bicubic(batch["lr"], 4), **sampled, "HR": batch["hr"]}
    figure = new_figure(1.3 * len(columns), 1.35 * len(rows), dpi=120, layout="constrained")
    grid = figure.subplots(len(rows), len(columns))
    for row, index in enumerate(rows):
        for axes, (name, pictures) in zip(grid[row], columns.items(), strict=True):
            axes.imshow(pictures[index].mean(0).numpy(), cmap="gray", vmin=-1, vmax=1)
            axes.set(xticks=[], yticks=[])
            if row == 0:
                axes.set_title(name if name in ("LR", "HR") else f"tag {name}", fontsize=9)
        grid[row][0].set_ylabel(kind_of(batch["name"][index]), fontsize=9)
    save_png(figure, path)


def main(folder: Path) -> int:
    """Write tables and pictures.

    Raises:
        ValueError: If a run is missing.
    """
    here = Path(__file__).parent
    seeds = sorted(path.name for path in (folder / "tags").glob("seed*")) or ["seed1"]
    runs = {
        (arm, seed): folder / arm / seed / "checkpoints" / "last.ckpt"
        for arm in ARMS
        for seed in seeds
    }
    for path in runs.values():
        if not path.is_file():
            raise ValueError(f"{path}: no such file: train all kinds first (make tag-proof)")
    batches = {arm: fixed_pairs(here / f"{arm}.yaml") for arm in ARMS}
    judged = {(arm, seed): judge(path, batches[arm]) for (arm, seed), path in runs.items()}
    curves = {arm: read_curve(folder / arm, seeds) for arm in ("tags", "caption")}
    shown = fixed_pairs(here / "tags.yaml", "test")
    sampled = sample(runs["tags", seeds[0]], shown)
    report = "\n".join(
        [
            write_losses(judged, seeds),
            write_recognition(fixed_pairs(here / "tags.yaml", "train"), shown, sampled),
            write_curves(**curves),
        ]
    )
    draw_curves(curves, folder / "learning.png")
    draw_textures(shown, sampled, folder / "textures.png")
    with atomic_path(folder / "report.md") as temporary:
        temporary.write_text(report)
    sys.stdout.write(report)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write tables and pictures of make tag-proof.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/guidance_proof"))
    try:
        sys.exit(main(parser.parse_args().folder))
    except ValueError as error:
        parser.error(str(error))
