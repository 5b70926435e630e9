"""Small files for the tests of shards."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lsr.cli import main
from lsr.datasets.shards.index import ShardIndex

RNG = np.random.default_rng(7)


def encoded(kind: str, height: int = 24, width: int = 32, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


def put(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def tar(path: Path, members: list[tuple[str, bytes]], **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return path


def shard(source: Path, out: Path, *options: str) -> int:
    return main(["shard", str(source), "--out", str(out), *options])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def samples(index: ShardIndex) -> list[tuple]:
    return [
        (index.name(i), tuple(index.sides[i].tolist()), index.tags(i), index.read(i))
        for i in range(len(index))
    ]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Twelve photographs of some 2 KB in two folders, half of them with tags."""
    files: dict[str, bytes | str] = {
        f"{'ab'[n % 2]}/{n // 2}.png": encoded("PNG", 20 + n, 30) for n in range(12)
    }
    files["tags.jsonl"] = "".join(
        json.dumps({"file": f"a/{n}.png", "tags": ["sea", f"number {n}"]}) + "\n" for n in range(6)
    )
    return put(tmp_path / "photographs", files)


SMALL = ("--max-mib", "0.012")  # three or four of the photographs above
