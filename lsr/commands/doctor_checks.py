"""The checks of `lsr doctor`: what is on this machine, and how to get what is missing.

A check returns facts by name. It raises `Missing` for something optional that is not there, and any
other exception if something is broken; it downloads nothing.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "torch torchvision triton lightning torchmetrics pyiqa timm diffusers transformers "
    "huggingface_hub numpy pillow safetensors gradio"
).split()

_ENCODERS = {
    "tagger clip": "openai/clip-vit-base-patch32",
    "image features": "facebook/dinov2-small",
    "latents of SANA": "mit-han-lab/dc-ae-f32c32-sana-1.1-diffusers",
}
"""Encoders that the experiments and the documents name, by their use."""

_KERNEL_SECONDS = 60
"""Longest time of the check of the kernels; on an idle machine it takes about five."""

Facts = Mapping[str, str]
"""What was found, in words, by name."""


class Missing(Exception):  # noqa: N818 (nothing is wrong)
    """Optional things that are not on this machine.

    Args:
        facts: What is there, what is not, and how to fetch it.
    """

    def __init__(self, facts: Facts) -> None:
        super().__init__(next(iter(facts.values())))
        self.facts = facts


def versions() -> Facts:
    """Return the versions of this package, of Python, and of the packages it uses."""
    from lsr import __version__

    return {"lsr": __version__, "Python": platform.python_version()} | {
        name: _version(name) for name in _PACKAGES
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def devices() -> Facts:
    """Return the GPUs and the processor."""
    import torch

    from lsr.runs.machine import hardware

    cpu = hardware("cpu")
    facts = {"CPU": f"{cpu['cpu']}, {len(os.sched_getaffinity(0))} of {cpu['cores']} cores"}
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        facts[f"GPU {number}"] = f"{name}, {_gib(free)} of {_gib(total)} free"
    return facts if len(facts) > 1 else facts | {"GPU": "none that PyTorch can use"}


def memory() -> Facts:
    """Return the free memory; raise ValueError if PyTorch and a small picture do not fit."""
    import torch

    from lsr.inference.memory import free_bytes

    free = free_bytes(torch.device("cpu"))
    if free < 2**30:
        raise ValueError(f"{_gib(free)} free: upscaling needs 1 GiB, end other programs")
    return {"free": _gib(free)}


def disk() -> Facts:
    """Return the free space of the folders that lsr writes to."""
    from lsr.files import default_cache

    places = {
        "here": Path(),
        "temporary files": Path(tempfile.gettempdir()),
        "cache": default_cache(),
    }
    return {
        name: f"{_gib(_free_space(place))} in {place.absolute()}" for name, place in places.items()
    }


def _free_space(place: Path) -> int:
    """Return the free bytes of a folder that need not exist yet."""
    existing = next(each for each in (place.absolute(), *place.absolute().parents) if each.exists())
    return shutil.disk_usage(existing).free


def models() -> Facts:
    """Upscale a few pixels by each model of this package, and compare its file with its card."""
    import numpy as np

    from lsr.files import sha256_of
    from lsr.inference.upscaler import Upscaler
    from lsr.models.pretrained import EMBEDDED, PACKAGED

    card = EMBEDDED.with_name("README.md").read_text("utf-8")
    facts = {}
    for name, path in PACKAGED.items():
        published = re.search(rf"`{re.escape(path.name)}`.*?`([0-9a-f]{{64}})`", card)
        if published is None or sha256_of(path) != published[1]:
            raise ValueError(f"{path} is not the published file: install the package again")
        upscaler = Upscaler.from_pretrained(path)
        pixels = np.linspace(0, 1, 8 * 8 * 3, dtype=np.float32).reshape(8, 8, 3)
        if not np.isfinite(upscaler.upscale(pixels)).all():
            raise ValueError(f"{path} computes values that are not finite on {upscaler.device}")
        facts[name] = f"works on {upscaler.device}, and its file is the published one (SHA-256)"
    return facts


def kernels() -> Facts:
    """Compare the Triton kernels with PyTorch in another process."""
    command = [sys.executable, "-m", "lsr.ops.kernel_check"]
    # The working folder may hold other modules of these names; the process finds ours by the path.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_KERNEL_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"no answer within {_KERNEL_SECONDS} seconds") from None
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise ValueError(" ".join(last) or f"the check ended with code {done.returncode}")
    return {"Triton": done.stdout.strip()}


def formats() -> Facts:
    """Tell which optional image formats can be read."""
    from lsr.images.formats import FORMATS

    facts = {"read": ", ".join(FORMATS)}
    if "HEIF" not in FORMATS:
        facts["HEIC"] = "pip install pillow-heif"
    if "AVIF" not in FORMATS:
        facts["AVIF"] = "pip install -U pillow"
    if len(facts) > 1:
        raise Missing(facts)
    return facts


def metrics() -> Facts:
    """Tell which metrics have their weights, and where the other files come from and go to."""
    from lsr.metrics.cards import CARDS
    from lsr.metrics.weights import path_of, url

    absent = {
        name: [file for file in card.weights if not path_of(file).is_file()]
        for name, card in CARDS.items()
    }
    facts = {"ready": ", ".join(name for name, files in absent.items() if not files)}
    missing = ", ".join(name for name, files in absent.items() if files)
    if not missing:
        return facts
    facts["without weights"] = f"{missing}; lsr eval fetches them, or copy these files:"
    for file in dict.fromkeys(file for files in absent.values() for file in files):
        source = url(file).rpartition("/")[0]
        way = f"from {source} to {path_of(file).parent}"
        facts[way] = f"{facts[way]}, {file.name}" if way in facts else file.name
    raise Missing(facts)


def taggers() -> Facts:
    """Tell which published files of taggers lie in `weights`, and where to fetch the others."""
    from lsr.guidance.taggers import PUBLISHED

    files = {name: (Path("weights", file), page) for name, (file, page) in PUBLISHED.items()}
    facts = {
        name: f"{path}" if path.is_file() else f"no {path}; it is at {page}"
        for name, (path, page) in files.items()
    }
    if not all(path.is_file() for path, _ in files.values()):
        raise Missing(facts)
    return facts


def encoders() -> Facts:
    """Tell which encoders that our experiments name are in the cache of the Hugging Face hub."""
    from huggingface_hub import try_to_load_from_cache

    cached = {
        use: isinstance(try_to_load_from_cache(name, "config.json"), str)
        for use, name in _ENCODERS.items()
    }
    facts = {use: name if cached[use] else f"hf download {name}" for use, name in _ENCODERS.items()}
    if not all(cached.values()):
        raise Missing(facts)
    return facts


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


CHECKS: dict[str, Callable[[], Facts]] = {
    "versions": versions,
    "devices": devices,
    "memory": memory,
    "disk": disk,
    "models": models,
    "kernels": kernels,
    "formats": formats,
    "metrics": metrics,
    "taggers": taggers,
    "encoders": encoders,
}
"""Name -> check, in the order of the report."""

NEEDED = ("versions", "devices", "memory", "disk", "models")
"""Checks without which nothing can be upscaled."""
