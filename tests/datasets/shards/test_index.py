"""The index of shards, ours and those of other programs, whole and damaged, read in parallel."""

import io
import multiprocessing
import os
import pickle
import re
import shutil
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.patience import PATIENCE_S
from support.shard_files import RNG, SMALL, encoded, photographs, put, samples, shard, tar

from lsr.datasets.shards import index as shards
from lsr.datasets.shards.index import CACHE, INDEX, PLAN, ShardIndex
from lsr.images import EncodedImage, UnreadableImage, find_images, probe, read_photograph, read_rgb8

__all__ = ["photographs"]  # a fixture


@pytest.fixture
def foreign(tmp_path):
    """Two shards of another program: the folder, and the images in the order of the index."""
    images = {name: encoded(kind, 10 + n, 40) for n, (name, kind) in enumerate(FOREIGN.items())}
    first = [
        ("./0001.jpg", images["0001.jpg"]),
        ("./._0001.json", b"a resource fork"),
        ("./0001.json", b'{"tags": ["sea", "pier"], "url": "x"}'),
        ("./0001.txt", b"a caption, not asked for"),
        ("dir/0002.txt", b"hills, fog\n"),
        ("dir/0002.cls", b"3"),
        ("dir/0002.PNG", images["dir/0002.PNG"]),
        ("0003.lr.png", encoded("PNG")),
        ("0003.png", images["0003.png"]),
        ("0003.json", b'{"tags": "one, two"}'),
        ("0004.json", b"{}"),
    ]
    second = [
        ("x/0001.webp", images["x/0001.webp"]),
        ("y/0001.tiff", images["y/0001.tiff"]),
        ("y/0001.json", b"no json"),
        ("y/0009.jpg", b"no picture"),
        (f"{'long/' * 40}夜.jpeg", images["long"]),
    ]
    tar(tmp_path / "shards" / "a.tar", first, format=tarfile.GNU_FORMAT)
    tar(tmp_path / "shards" / "b.tar", second, format=tarfile.PAX_FORMAT)
    return tmp_path / "shards", list(images.values())


FOREIGN = {
    "0001.jpg": "JPEG",
    "dir/0002.PNG": "PNG",
    "0003.png": "PNG",
    "x/0001.webp": "WEBP",
    "y/0001.tiff": "TIFF",
    "long": "JPEG",
}


def test_shards_of_others_are_scanned(foreign, caplog):
    folder, images = foreign
    index = ShardIndex.open(folder)
    assert [index.read(i) for i in range(len(index))] == images
    assert index.sides.tolist() == [[10 + n, 40] for n in range(6)]
    assert [index.tags(i) for i in range(len(index))] == [
        ("sea", "pier"),
        ("hills", "fog"),
        ("one", "two"),
        (),
        (),
        (),
    ]
    assert index.name(0) == "a.tar:./0001.jpg" and index.name(5) == f"b.tar:{'long/' * 40}夜.jpeg"
    told = [record.getMessage() for record in caplog.records]
    assert (
        len(told) == 3
        and "a.tar: pictures that belong to a photograph: 1 left out, such as 0003.lr.png"
        in told[0]
        and "b.tar:y/0001.tiff has no tags: its .json, .txt or .caption is damaged" in told[1]
        and "left out b.tar:y/0009.jpg: " in told[2]
    )


def test_a_scan_is_kept_until_a_shard_changes(foreign, monkeypatch):
    folder, _ = foreign
    scanned: list[str] = []
    scan = shards.scan
    monkeypatch.setattr(shards, "scan", lambda path: scanned.append(path.name) or scan(path))
    fresh = samples(ShardIndex.open(folder))
    assert scanned == ["a.tar", "b.tar"]
    assert samples(ShardIndex.open(str(folder / "*.tar"))) == fresh and len(scanned) == 2
    os.utime(folder / "b.tar", (1, 1))
    assert samples(ShardIndex.open(folder)) == fresh and scanned[2:] == ["b.tar"]
    new = encoded("PNG", 5, 6)
    tar(folder / "b.tar", [("new.png", new)])
    assert samples(ShardIndex.open(folder / "b.tar")) == [
        ("b.tar:new.png", (5, 6), (), new)
    ] and scanned[3:] == ["b.tar"]
    assert len(ShardIndex.open(folder)) == 4 and len(scanned) == 4, (
        "opening one shard forgot the other"
    )
    (folder / CACHE).write_bytes((folder / CACHE).read_bytes()[:-100])
    assert len(ShardIndex.open(folder)) == 4 and len(scanned) == 6, "a damaged cache is made again"


def test_a_folder_that_cannot_be_written_to_is_scanned_in_memory(foreign, caplog):
    folder, images = foreign
    put(folder / CACHE, {"in the way": ""})
    assert [row[3] for row in samples(ShardIndex.open(folder))] == images
    assert "will be scanned again" in caplog.text
    assert sorted(path.name for path in folder.iterdir()) == [CACHE, "a.tar", "b.tar"]


def test_our_shards_and_those_of_others_in_one_folder(photographs, foreign, tmp_path):
    folder, images = foreign
    shard(photographs, tmp_path / "out")
    for name in ("shard-000000.tar", INDEX, PLAN):
        shutil.move(tmp_path / "out" / name, folder / name)
    index = ShardIndex.open(folder)
    expected = [*images, *(path.read_bytes() for path in find_images(photographs))]
    assert [index.read(i) for i in range(len(index))] == expected
    assert len(ShardIndex.open(folder / "*")) == len(expected), "what is no shard does not count"
    assert len(ShardIndex.open(folder / "shard-*.tar")) == 12


def test_shards_may_be_copied_but_not_lost_cut_or_edited(photographs, tmp_path):
    out = tmp_path / "out"
    shard(photographs, out, *SMALL)
    expected = samples(ShardIndex.open(out))
    os.utime(out / "shard-000001.tar", (1, 1))
    assert samples(ShardIndex.open(out)) == expected
    target = out / "shard-000001.tar"
    data = target.read_bytes()

    index = ShardIndex.open(out)
    place = next(i for i in range(12) if index.name(i).startswith("shard-000001"))
    start = data.index(index.read(place))
    target.write_bytes(data[: start + 200] + bytes([data[start + 200] ^ 1]) + data[start + 201 :])
    with pytest.raises(
        UnreadableImage, match=f"{re.escape(index.name(place))}: damaged, its CRC-32"
    ):
        ShardIndex.open(out).read(place)
    target.write_bytes(data[: start + 200])
    with pytest.raises(ValueError, match="shard-000001.tar: ends at byte"):
        index.read(place)  # through the descriptor that is open
    with pytest.raises(ValueError, match="shard-000001.tar: .* truncated or replaced"):
        ShardIndex.open(out)
    target.unlink()
    with pytest.raises(ValueError, match="shard-000001.tar: missing"):
        ShardIndex.open(out)
    assert samples(ShardIndex.open(out / "shard-000000.tar")) == expected[:place]
    (out / INDEX).write_bytes(b"PK damaged")
    with pytest.raises(
        ValueError,
        match=r"index.npz: the index is damaged .*\(not an .npz file\); run the same lsr shard",
    ):
        ShardIndex.open(out)


def test_a_shard_replaced_after_opening_is_noticed_at_the_first_read(photographs, tmp_path):
    shard(photographs, tmp_path / "out")
    index = ShardIndex.open(tmp_path / "out")
    target = tmp_path / "out" / "shard-000000.tar"
    target.write_bytes(target.read_bytes()[:-10240])
    with pytest.raises(ValueError, match="shard-000000.tar: .* truncated or replaced"):
        index.read(0)


def test_every_cut_through_a_foreign_shard_is_noticed(tmp_path):
    """Also a cut between two members, which tarfile takes for the end."""
    whole = tar(
        tmp_path / "whole.tar",
        [("1.png", encoded("PNG")), ("1.json", b"{}"), ("2.png", encoded("PNG"))],
    ).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as archive:
        last = archive.getmembers()[-1]
        end = last.offset_data + -(-last.size // 512) * 512
    for size in range(0, end + 1, 256):
        cut = tmp_path / f"cut-{size}.tar"
        cut.write_bytes(whole[:size])
        with pytest.raises(
            ValueError,
            match=f"cut-{size}.tar: a compressed, damaged or truncated tar",
        ):
            ShardIndex.open(cut)
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(whole[: last.offset] + b"?" * 512 + whole[last.offset + 512 :])
    with pytest.raises(ValueError, match="damaged.tar: .*no header and no end"):
        ShardIndex.open(damaged)


def test_what_holds_no_photographs_is_one_clear_line(tmp_path):
    (tmp_path / "empty").mkdir()
    for location in (tmp_path / "empty", tmp_path / "absent", str(tmp_path / "*.tar")):
        with pytest.raises(ValueError, match="no shards"):
            ShardIndex.open(location)
    tar(tmp_path / "text" / "a.tar", [("a.txt", b"x"), ("b.photo", encoded("PNG"))])
    with pytest.raises(ValueError, match="the 1 shards hold no photographs"):
        ShardIndex.open(tmp_path / "text")
    with tarfile.open(tmp_path / "b.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(ValueError, match="b.tar: a compressed"):
        ShardIndex.open(tmp_path / "b.tar")


def _read_all(index: ShardIndex, order: list[int], expected: list[bytes], answer) -> None:
    answer.put(all(index.read(i) == expected[i] for i in order))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_and_threads_read_at_once(photographs, tmp_path, monkeypatch, method):
    monkeypatch.setattr(shards, "_opened", shards.lru_cache(maxsize=2)(shards._opened.__wrapped__))
    shard(photographs, tmp_path / "out", "--max-mib", "0.001")
    index = ShardIndex.open(tmp_path / "out")
    expected = [index.read(i) for i in range(12)]
    context = multiprocessing.get_context(method)
    answer = context.SimpleQueue()
    order = RNG.integers(0, 12, 500).tolist()
    workers = [
        context.Process(target=_read_all, args=(index, order[n:], expected, answer))
        for n in range(2)
    ]
    workers += [
        threading.Thread(target=_read_all, args=(index, order[n:], expected, answer))
        for n in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE_S)
    assert [answer.get() for _ in workers] == [True] * 5
    assert samples(pickle.loads(pickle.dumps(index))) == samples(index)


def test_no_more_shards_are_open_than_allowed(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_opened", shards.lru_cache(maxsize=3)(shards._opened.__wrapped__))
    shard(photographs, tmp_path / "out", "--max-mib", "0.001")
    index = ShardIndex.open(tmp_path / "out")
    for i in [*range(12), *range(12)]:
        index.read(i)
        links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
        open_shards = [
            link for link in links if link.exists() and str(tmp_path) in str(link.resolve())
        ]
        assert 1 <= len(open_shards) <= 3


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("WEBP", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
    ],
)
def test_bytes_decode_like_a_file_of_their_own(tmp_path, kind, options, capfd):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(kind, **options) if kind == "BMP" else encoded(kind, exif=exif, **options)
    path = put(tmp_path, {"a": data}) / "a"
    stream = io.BytesIO(data)
    for _ in range(2):  # wherever the first time has left the stream
        assert np.array_equal(read_rgb8(EncodedImage("x", stream)), read_rgb8(path))
    assert np.array_equal(
        read_photograph(EncodedImage("x", io.BytesIO(data))).pixels, read_photograph(path).pixels
    )
    assert (
        probe(EncodedImage("x", io.BytesIO(data)))
        == probe(path)
        == ((32, 24) if kind == "BMP" else (24, 32))
    )
    for broken in (data[: len(data) // 2], b"", b"no picture"):
        with pytest.raises(UnreadableImage, match=r"^shard-000003\.tar:0042_photo\.jpg: "):
            read_rgb8(EncodedImage("shard-000003.tar:0042_photo.jpg", io.BytesIO(broken)))
    assert capfd.readouterr() == ("", "")
