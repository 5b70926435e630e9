"""Write crops of five textures that an LR image leaves in doubt, with tags and captions.

    python experiments/guidance_proof/textures.py [runs/guidance_proof/textures]

The textures are parts of photographs in scikit-image, as grey images without their large-scale
brightness and with the same local contrast: blurred, reduced and noisy they look alike. `train` and
`val` are different parts of each photograph. All splits have three lists:

- `tags.jsonl`: the kind of the texture, one word;
- `shuffled.jsonl`: the kinds in turn, so that every kind has every tag about equally often;
- `captions.jsonl`: the kind among ten words that say nothing about it.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.bundled_photographs import bundled_photographs
from lsr.files import atomic_path
from lsr.images import read_rgb8

KINDS = {
    "brick": "brick.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "star": "hubble_deep_field.jpg",
    "tissue": "ihc.png",
}
"""Kind of texture -> the photograph in scikit-image; their upper left corners are used."""

WORDS = """
a the this that one some very quite rather old new plain fine close small large grey bright dark
sharp soft real nice picture photograph view piece part detail surface pattern of in on with from
above below near seen taken here there today
""".split()
"""Words of the captions, which say nothing about the kind."""

SIDE = 256
"""Side of a texture in pixels: half of the side of the corner that is used."""

SPLITS = {"train": (0, 192, 64), "val": (192, 256, 32), "test": (192, 256, 64)}
"""Split -> first and last column, and side of its crops, in pixels.

`test` has the pixels of `val` in larger crops, for pictures."""

SEED = 0
"""Seed of the captions."""


def texture(path: Path) -> np.ndarray:
    """Return a photograph's corner at half its size, with equal brightness and contrast.

    Returns:
        (SIDE, SIDE) uint8.
    """
    import cv2

    corner = read_rgb8(path)[: 2 * SIDE, : 2 * SIDE].astype(np.float32).mean(2)
    grey = cv2.resize(corner, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), 6)
    contrast = np.sqrt(cv2.GaussianBlur(detail**2, (0, 0), 16))
    return np.clip(128 + 45 * detail / contrast, 0, 255).round().astype(np.uint8)


def caption(kind: str, rng: np.random.Generator) -> str:
    """Return ten words that say nothing, with the kind at a random place among them."""
    words = list(rng.choice(WORDS, 10))
    words.insert(int(rng.integers(11)), kind)
    return " ".join(words)


def write_split(folder: Path, split: str) -> None:
    """Write the crops of a split and the lists. Neighbours in the order of names differ in kind."""
    left, right, side = SPLITS[split]
    rng = np.random.default_rng([SEED, side])
    kinds = list(KINDS)
    photographs = {path.name: path for path in bundled_photographs("train")}
    lists: dict[str, list[str]] = {"tags": [], "shuffled": [], "captions": []}
    for number, kind in enumerate(kinds):
        columns = texture(photographs[KINDS[kind]])[:, left:right]
        corners = np.ndindex(SIDE // side, (right - left) // side)
        for turn, (row, column) in enumerate(corners):
            crop = columns[row * side :, column * side :][:side, :side]
            name = f"{turn:02d}-{kind}.png"
            Image.fromarray(crop).save(folder / name)
            texts = {
                "tags": kind,
                "shuffled": kinds[(number + turn) % len(kinds)],
                "captions": caption(kind, rng),
            }
            for of_list, text in texts.items():
                lists[of_list].append(json.dumps({"file": name, "tags": [text]}) + "\n")
    for name, lines in lists.items():
        with atomic_path(folder / f"{name}.jsonl") as temporary:
            temporary.write_text("".join(lines))


def main(out: Path) -> int:
    """Write all splits."""
    for split in SPLITS:
        (out / split).mkdir(parents=True, exist_ok=True)
        write_split(out / split, split)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/guidance_proof/textures")))
