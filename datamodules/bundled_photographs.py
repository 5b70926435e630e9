"""The embedded data set: the real photographs that ship inside the scikit-image wheel, so that nothing is downloaded."""

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


def bundled_photographs(split: str) -> list[Path]:
    """Return the photographs of a split, "train", "val" or "test"; no scene is in two splits.

    Raises:
        ValueError: If the split is unknown or scikit-image does not carry a photograph.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of the bundled photographs; known are {', '.join(SPLITS)}")
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ValueError("the bundled photographs are part of scikit-image, which is not installed")
    paths = [Path(spec.origin).parent / "data" / name for name in SPLITS[split]]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ValueError(f"this version of scikit-image does not carry {', '.join(missing)}")
    return paths


if __name__ == "__main__":
    sys.stdout.write("\n".join(map(str, bundled_photographs(sys.argv[1]))) + "\n")
