"""The bundled data set: photographs in the installed scikit-image, so that nothing is downloaded.

`python -m datamodules.bundled_photographs SPLIT` prints their paths.
"""

import importlib.util
import sys
from pathlib import Path

SPLITS: dict[str, tuple[str, ...]] = {
    "train": (
        "astronaut.png",
        "brick.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "moon.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "retina.jpg",
    ),
    "val": ("camera.png", "chelsea.png", "coffee.png"),
    "test": ("rocket.jpg",),
}
"""Names of the photographs of each split; no scene is in two splits."""

_TAGS: dict[str, tuple[str, ...]] = {
    "astronaut.png": (
        "woman",
        "face",
        "astronaut",
        "orange suit",
        "helmet",
        "flag",
        "rocket",
        "portrait",
    ),
    "brick.png": ("brick", "wall", "texture", "black and white"),
    "coins.png": ("coin", "metal", "texture", "black and white"),
    "grass.png": ("grass", "texture", "black and white"),
    "gravel.png": ("gravel", "stone", "texture", "black and white"),
    "hubble_deep_field.jpg": ("galaxy", "star", "space", "sky"),
    "ihc.png": ("cell", "tissue", "microscopy", "texture"),
    "moon.png": ("moon", "crater", "space", "black and white"),
    "motorcycle_left.png": ("motorcycle", "wheel", "garage", "metal"),
    "motorcycle_right.png": ("motorcycle", "wheel", "garage", "metal"),
    "retina.jpg": ("retina", "eye", "blood vessel"),
    "camera.png": (
        "man",
        "camera",
        "tripod",
        "coat",
        "grass",
        "building",
        "sky",
        "black and white",
    ),
    "chelsea.png": ("cat", "face", "fur", "eye", "whisker"),
    "coffee.png": ("coffee", "cup", "saucer", "spoon", "table", "wood"),
    "rocket.jpg": ("rocket", "tower", "sky", "dusk"),
}
_CAPTIONS: dict[str, str] = {
    "astronaut.png": (
        "a portrait of a smiling woman in an orange astronaut suit in front of a flag and a model"
        " of a rocket"
    ),
    "brick.png": "a black and white picture of a wall made of brick",
    "coins.png": "a black and white picture of old metal coins on a dark ground",
    "grass.png": "a black and white picture of grass seen from above",
    "gravel.png": "a black and white picture of gravel and stone seen from above",
    "hubble_deep_field.jpg": "a picture of space with many a galaxy and a few stars in a dark sky",
    "ihc.png": "a microscopy picture of tissue in which each cell is blue or brown",
    "moon.png": "a black and white picture of the moon with a crater",
    "motorcycle_left.png": "a picture of a motorcycle with a big wheel in a garage",
    "motorcycle_right.png": "a picture of a motorcycle with a big wheel in a garage",
    "retina.jpg": "a picture of the retina of an eye with blood vessels",
    "camera.png": (
        "a black and white picture of a man in a dark coat with a camera on a tripod on the grass"
    ),
    "chelsea.png": "a close view of the face of a brown cat with whiskers",
    "coffee.png": "a cup of coffee with a spoon on a saucer on a table made of wood",
    "rocket.jpg": "a picture of a rocket beside a tower in front of a sky at dusk",
}


def bundled_tags(name: str, tags_file: str) -> tuple[str, ...]:
    """Return the hand-written tags of a bundled photograph, or its caption as a single tag.

    Args:
        name: Name of the photograph.
        tags_file: Name of the list of tags that a folder would have; `captions.jsonl` gives the
            caption, any other name the tags.
    """
    return (_CAPTIONS[name],) if tags_file == "captions.jsonl" else _TAGS[name]


def bundled_photographs(split: str) -> list[Path]:
    """Return the photographs of a split, "train", "val" or "test".

    Raises:
        ValueError: The split is unknown, or scikit-image or a photograph in it is missing.
    """
    if split not in SPLITS:
        raise ValueError(
            f"unknown split {split!r} of the bundled photographs; known are {', '.join(SPLITS)}"
        )
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ValueError(
            "the bundled photographs need scikit-image: install it (pip install scikit-image)"
        )
    paths = [Path(spec.origin).parent / "data" / name for name in SPLITS[split]]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ValueError(
            f"this scikit-image lacks {', '.join(missing)}: install another version of it"
        )
    return paths


if __name__ == "__main__":
    sys.stdout.write("\n".join(map(str, bundled_photographs(sys.argv[1]))) + "\n")
