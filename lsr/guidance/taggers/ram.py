"""RAM and RAM++ from their published files.

Names and shapes of the weights are those of `RAM` and `RAM_plus` in xinyu1205/recognize-anything, read from its source; a published file
itself has not been loaded here. The loader is strict: a weight that is missing or has no place is told by name.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.guidance.taggers.ram_network import RAM

_FILES = {
    False: "ram_swin_large_14m.pth (huggingface.co/spaces/xinyu1205/recognize-anything)",
    True: "ram_plus_swin_large_14m.pth (huggingface.co/xinyu1205/recognize-anything-plus-model)",
}
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
# Of training, or of captions: the encoder and decoder of text, and what Swin computes from its sizes.
_UNUSED = re.compile(r"^(tag_encoder|text_decoder)\.|relative_position_index$|attn_mask$")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def published_name(ours: str) -> str:
    """Return the published name of a parameter of `RAM`."""
    if ours.startswith("decoder."):
        _, index, part, leaf = ours.split(".")
        return f"tagging_head.encoder.layer.{index}.{_DECODER[part]}.{leaf}"
    # timm has a stage's downsampling at its beginning, the published network at the end of the stage before.
    return re.sub(
        r"layers\.(\d+)\.downsample", lambda match: f"layers.{int(match[1]) - 1}.downsample", ours
    )


def build_ram(published: Mapping[str, Tensor], n_tags: int, plus: bool) -> RAM:
    """Build the network that published weights belong to, with them.

    Args:
        published: By their own names; sizes are told from their shapes.
        n_tags: Tags in the list.
        plus: RAM++.

    Raises:
        ValueError: If a weight is missing, left over, or has another shape.
    """
    theirs = {
        re.sub(r"^vision_multi\.", "tagging_head.", name): weight
        for name, weight in published.items()
    }
    theirs = {name: weight for name, weight in theirs.items() if not _UNUSED.search(name)}
    try:
        model = RAM(*_sizes(theirs, n_tags))
    except KeyError as error:
        raise ValueError(f"not the weights of a tagger: {error.args[0]} is missing") from None
    if (model.reweight_scale is not None) != plus:
        raise ValueError(
            f"these are the weights of {'RAM' if plus else 'RAM++'}: choose --tagger {'ram' if plus else 'ram++'}"
        )
    ours = {name: theirs.pop(published_name(name), None) for name in model.state_dict()}
    missing = [published_name(name) for name, weight in ours.items() if weight is None]
    if missing or theirs:
        found = {"missing": missing, "left over": sorted(theirs)}
        told = "; ".join(
            f"{len(names)} {what}, {names[0]} for one" for what, names in found.items() if names
        )
        raise ValueError(f"the weights are not those of the published tagger: {told}")
    try:
        model.load_state_dict(ours)  # pyright: ignore[reportArgumentType]
    except RuntimeError as error:
        raise ValueError(
            f"the weights do not fit each other: {' '.join(str(error).split())[:200]}"
        ) from error
    return model.eval().requires_grad_(False)


def _sizes(theirs: Mapping[str, Tensor], n_tags: int) -> tuple[Any, ...]:
    depths: list[int] = []
    heads: list[int] = []
    while f"visual_encoder.layers.{len(depths)}.blocks.0.norm1.weight" in theirs:
        stage = f"visual_encoder.layers.{len(depths)}.blocks"
        heads.append(theirs[f"{stage}.0.attn.relative_position_bias_table"].shape[1])
        depths.append(
            sum(
                re.fullmatch(re.escape(stage) + r"\.\d+\.norm1\.weight", name) is not None
                for name in theirs
            )
        )
    positions = theirs["visual_encoder.layers.0.blocks.0.attn.relative_position_bias_table"].shape[
        0
    ]
    window = (round(positions**0.5) + 1) // 2
    embed_dim = theirs["visual_encoder.patch_embed.proj.weight"].shape[0]
    swin = {
        "embed_dim": embed_dim,
        "depths": tuple(depths),
        "num_heads": tuple(heads),
        "window_size": window,
    }
    labels, embed = theirs["label_embed"].shape
    if labels % n_tags:
        raise ValueError(f"{labels} embeddings of tags do not belong to a list of {n_tags} tags")
    layers = 0
    while f"tagging_head.encoder.layer.{layers}.intermediate.dense.weight" in theirs:
        layers += 1
    hidden, width = theirs["tagging_head.encoder.layer.0.intermediate.dense.weight"].shape
    return swin, n_tags, labels // n_tags, embed, width, hidden, layers


class RAMTagger:
    """Tags by RAM or RAM++: every tag whose probability is above its own threshold.

    Args:
        weights: The published `.pth` file; `ram_tag_list.txt` and `ram_tag_list_threshold.txt` lie beside it.
        plus: RAM++.
        device: Where to compute.

    Raises:
        ValueError: If a file is missing or damaged, told in one line that says what to fetch and where to put it.
    """

    def __init__(self, weights: Path, plus: bool, device: torch.device) -> None:
        absent = [
            str(path)
            for path in (weights, *(weights.parent / name for name in _LISTS))
            if not path.is_file()
        ]
        if absent:
            raise ValueError(
                f"{' and '.join(absent)} not found: fetch {_FILES[plus]}, and {' and '.join(_LISTS)} from ram/data of "
                "github.com/xinyu1205/recognize-anything, into one folder, and name the .pth with --weights; --tags none goes without"
            )
        self.tags, thresholds = (
            (weights.parent / name).read_text("utf-8").splitlines() for name in _LISTS
        )
        if len(self.tags) != len(thresholds):
            raise ValueError(
                f"{weights.parent}: {len(self.tags)} tags and {len(thresholds)} thresholds do not belong together"
            )
        self.thresholds = torch.tensor([float(line) for line in thresholds])
        try:
            published = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
            published = published.get("model", published)
        except Exception as error:  # torch, pickle and zip each have their own kinds
            raise ValueError(
                f"{weights}: not a checkpoint, or a damaged one ({type(error).__name__})"
            ) from error
        try:
            self.network = build_ram(published, len(self.tags), plus).to(device)
        except ValueError as error:
            raise ValueError(f"{weights}: {error}") from error
        self.device = device

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray) -> tuple[str, ...]:
        """Return the tags of a photograph (H, W, 3) uint8, the surest first."""
        probabilities = self.network(self.prepare(pixels).to(self.device))[0].sigmoid().cpu()
        found = (probabilities > self.thresholds).nonzero()[:, 0].tolist()
        return tuple(self.tags[i] for i in sorted(found, key=lambda i: -probabilities[i].item()))

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """Return a photograph (H, W, 3) uint8 as the network takes it: (1, 3, S, S), squeezed into the square as in its training."""
        image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255
        size = self.network.image_size
        image = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (_MEAN, _STD))
        return (image - mean) / std
