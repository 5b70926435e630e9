"""Write a web page that upscales photographs in the visitor's browser, by ONNX Runtime Web.

The page consists of static files. It asks no other server for anything.
"""

import json
from pathlib import Path

from lsr.export.onnx_model import export_onnx
from lsr.files import copy_file, write_json
from lsr.models.mixture import Model

RUNTIME_VERSION = "1.30.0"
"""Version of the npm package onnxruntime-web that the page was tested with."""

RUNTIME_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""Files of its folder `dist` that the page loads."""

LARGEST_PIXELS = 250_000
"""Pixels of the largest photograph: it takes 1.8 GiB, of the 4 that WebAssembly has at most."""

_PAGE = Path(__file__).parent / "web"


def write_page(
    out: Path, model: Model, shift: float, *, name: str, licence: str, runtime: Path
) -> str:
    """Write the folder of the page.

    Args:
        out: Folder to write.
        model: The model; the page takes one sampling step.
        shift: Shift of its flow times.
        name: Name of the model on the page.
        licence: Licence of the weights, for the page.
        runtime: Unpacked npm package onnxruntime-web.

    Returns:
        What was written, in one line.

    Raises:
        ValueError: If the runtime is missing, or the model cannot be exported.
    """
    files = _runtime_files(runtime)
    if model.config.autoencoder is not None:
        raise ValueError(
            "the page needs a model in pixel space: the decoder of "
            f"{model.config.autoencoder} is too large for a browser"
        )
    written = export_onnx(
        out / "model.onnx", model, shift, name=name, licence=licence, one_step=True
    )
    settings = {
        "model": name,
        "licence": licence,
        "scale": model.config.scale,
        "lr_multiple": model.lr_multiple,
        "margin": model.margin,
        "channels": model.space.channels,
        "largest_pixels": LARGEST_PIXELS,
    }
    write_json(out / "model.json", settings)
    for source in sorted(_PAGE.iterdir()):
        copy_file(source, out / source.name)
    for source in files:
        copy_file(source, out / "onnxruntime" / source.name)
    return f"a page for any web server of static files; model.onnx: {written}"


def _runtime_files(runtime: Path) -> list[Path]:
    """Return the files of the runtime, with its package.json, which names version and licence.

    Raises:
        ValueError: If one is missing, or the package is another one.
    """
    package = runtime / "package" if (runtime / "package").is_dir() else runtime
    files = [package / "package.json", *(package / "dist" / name for name in RUNTIME_FILES)]
    try:
        found = json.loads(files[0].read_text())["name"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    missing = [path for path in files if not path.is_file()]
    if found != "onnxruntime-web" or missing:
        lacks = missing[0].relative_to(package) if missing else "the package onnxruntime-web"
        raise ValueError(
            f"--runtime {runtime}: lacks {lacks}; fetch it by `npm pack "
            f"onnxruntime-web@{RUNTIME_VERSION}`, unpack it by `tar xf`, and name its folder "
            "package"
        )
    return files
