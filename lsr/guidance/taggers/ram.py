"""Tag photographs by RAM or RAM++ with their published weights.

The names and shapes of the weights were read from the source of `RAM` and `RAM_plus` in
xinyu1205/recognize-anything; no published file has been loaded so far. The loader is strict: it
refuses a file with missing or unknown weights and names the first of them.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.guidance.taggers import PUBLISHED
from lsr.guidance.taggers.ram_network import RAM
from lsr.reading.texts import read_text

_FILES = {name == "ram++": f"{file} ({page})" for name, (file, page) in PUBLISHED.items()}
"""Published file of RAM (False) and RAM++ (True), and the page from which to fetch it."""
_LISTS = ("ram_tag_list.txt", "ram_tag_list_threshold.txt")
_DECODER = {
    "query": "crossattention.self.query",
    "key": "crossattention.self.key",
    "value": "crossattention.self.value",
    "attended": "crossattention.output.dense",
    "attended_norm": "crossattention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "norm": "output.LayerNorm",
}
# Weights that tagging does not need: the text encoder and decoder for training and captions, and
# tables that Swin computes from its sizes.
_UNUSED = re.compile(r"^(tag_encoder|text_decoder)\.|relative_position_index$|attn_mask$")
# Mean and standard deviation of ImageNet, by which the network's input is normalised.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def published_name(ours: str) -> str:
    """Return the published name of a parameter of `RAM`."""
    if ours.startswith("decoder."):
        _, index, part, leaf = ours.split(".")
        return f"tagging_head.encoder.layer.{index}.{_DECODER[part]}.{leaf}"
    # timm downsamples at the beginning of a stage, the published network at the end of the
    # previous stage.
    return re.sub(
        r"layers\.(\d+)\.downsample", lambda match: f"layers.{int(match[1]) - 1}.downsample", ours
    )


def build_ram(published: Mapping[str, Tensor], n_tags: int, plus: bool) -> RAM:
    """Build the network of published weights.

    Args:
        published: Weights by their published names; their shapes give the sizes of the network.
        n_tags: Number of tags in the list of tags.
        plus: Whether RAM++ is expected instead of RAM.

    Raises:
        ValueError: If a weight is missing, left over, or has another shape.
    """
    theirs: dict[str, Tensor] = {}
    for name, weight in published.items():
        renamed = re.sub(r"^vision_multi\.", "tagging_head.", name)  # an older name of the head
        if not _UNUSED.search(renamed):
            theirs[renamed] = weight
    try:
        model = RAM(*_sizes(theirs, n_tags))
    except KeyError as error:
        raise ValueError(
            f"the weight {error.args[0]} is missing: this is not the file of a tagger; "
            f"fetch {_FILES[plus]}"
        ) from None
    if (model.reweight_scale is not None) != plus:
        found, choice = ("RAM", "ram") if plus else ("RAM++", "ram++")
        raise ValueError(f"this file has the weights of {found}: choose --tagger {choice}")
    ours = {name: theirs.pop(published_name(name), None) for name in model.state_dict()}
    missing = [published_name(name) for name, weight in ours.items() if weight is None]
    problems = [
        f"{len(names)} {what}, such as {names[0]}"
        for names, what in ((missing, "missing"), (sorted(theirs), "left over"))
        if names
    ]
    if problems:
        raise ValueError(
            "the names of the weights in this file are not those of the published tagger "
            f"({'; '.join(problems)}); fetch {_FILES[plus]}"
        )
    for name, expected in model.state_dict().items():
        if getattr(ours[name], "shape", None) != expected.shape:
            raise ValueError(
                "the weights in this file contradict each other in their shapes: it is damaged or "
                f"not the published file; fetch {_FILES[plus]} again "
                f"(first mismatch: {published_name(name)})"
            )
    model.load_state_dict(ours)  # pyright: ignore[reportArgumentType]
    return model.eval().requires_grad_(False)


def _sizes(theirs: Mapping[str, Tensor], n_tags: int) -> tuple[Any, ...]:
    """Return the arguments of `RAM`, computed from the shapes of published weights."""
    depths: list[int] = []
    heads: list[int] = []
    while f"visual_encoder.layers.{len(depths)}.blocks.0.norm1.weight" in theirs:
        stage = f"visual_encoder.layers.{len(depths)}.blocks"
        heads.append(theirs[f"{stage}.0.attn.relative_position_bias_table"].shape[1])
        block = re.compile(re.escape(stage) + r"\.\d+\.norm1\.weight")
        depths.append(sum(block.fullmatch(name) is not None for name in theirs))
    table = theirs["visual_encoder.layers.0.blocks.0.attn.relative_position_bias_table"]
    # One row for each offset between two positions of a window: (2 window_size - 1)^2 rows.
    window = (round(table.shape[0] ** 0.5) + 1) // 2
    embed_dim = theirs["visual_encoder.patch_embed.proj.weight"].shape[0]
    swin = {
        "embed_dim": embed_dim,
        "depths": tuple(depths),
        "num_heads": tuple(heads),
        "window_size": window,
    }
    labels, embed = theirs["label_embed"].shape
    if labels % n_tags:
        raise ValueError(
            f"the file has {labels} embeddings of tags, which is no multiple of the {n_tags} tags "
            f"in {_LISTS[0]}: one of the two files is wrong; fetch both again"
        )
    layers = 0
    while f"tagging_head.encoder.layer.{layers}.intermediate.dense.weight" in theirs:
        layers += 1
    hidden, width = theirs["tagging_head.encoder.layer.0.intermediate.dense.weight"].shape
    return swin, n_tags, labels // n_tags, embed, width, hidden, layers


class RAMTagger:
    """Return every tag whose probability is above the threshold of this tag.

    Args:
        weights: The published `.pth` file. `ram_tag_list.txt` and `ram_tag_list_threshold.txt` must
            be in the same folder.
        plus: Whether the file has the weights of RAM++ instead of RAM.
        device: The device that computes.

    Raises:
        ValueError: If a file is missing or damaged. The message is one line that says what to fetch
            and where to put it.
    """

    def __init__(self, weights: Path, plus: bool, device: torch.device) -> None:
        files = [weights, *(weights.parent / name for name in _LISTS)]
        absent = [str(path) for path in files if not path.is_file()]
        if absent:
            raise ValueError(
                f"{' and '.join(absent)} not found: fetch {_FILES[plus]}, and "
                f"{' and '.join(_LISTS)} from ram/data of github.com/xinyu1205/recognize-anything, "
                "into one folder, and give the .pth with --weights to lsr tag, or with "
                "--tagger-weights to lsr upscale, which needs no tagger with --tags none"
            )
        self.tags, thresholds = (read_text(weights.parent / name).splitlines() for name in _LISTS)
        if len(self.tags) != len(thresholds):
            raise ValueError(
                f"{weights.parent}: {_LISTS[0]} has {len(self.tags)} tags, but {_LISTS[1]} has "
                f"{len(thresholds)} thresholds; fetch both files again"
            )
        self.thresholds = torch.tensor([float(line) for line in thresholds])
        try:
            published = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
            published = published.get("model", published)
        except Exception as error:  # torch, pickle and zip raise exceptions of many classes
            raise ValueError(
                f"{weights}: not a checkpoint, or damaged ({type(error).__name__}); "
                f"fetch {_FILES[plus]} again"
            ) from error
        try:
            self.network = build_ram(published, len(self.tags), plus).to(device)
        except ValueError as error:
            raise ValueError(f"{weights}: {error}") from error
        self.device = device

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray) -> tuple[str, ...]:
        """Return the tags of a photograph (H, W, 3) uint8, the most probable first."""
        probabilities = self.network(self.prepare(pixels).to(self.device))[0].sigmoid().cpu()
        found = (probabilities > self.thresholds).nonzero()[:, 0].tolist()
        return tuple(self.tags[i] for i in sorted(found, key=lambda i: -probabilities[i].item()))

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """Return a photograph (H, W, 3) uint8 as input (1, 3, S, S) of the network.

        It is resized to a square whatever its aspect ratio, as in the training of the network.
        """
        image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255
        size = self.network.image_size
        image = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
        mean = torch.tensor(_MEAN).reshape(3, 1, 1)
        std = torch.tensor(_STD).reshape(3, 1, 1)
        return (image - mean) / std
