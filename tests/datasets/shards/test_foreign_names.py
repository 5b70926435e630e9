"""Shards of other programs whose members have unusual names."""

import tarfile

import pytest
from support.shard_files import encoded, put, tar

from datamodules.file_index import FileIndex
from datamodules.image_source import ImageSource
from lsr.datasets.shards.index import CACHE, ShardIndex


def members(folder):
    index = ShardIndex.open(folder)
    return [index.name(i).partition(":")[2] for i in range(len(index))]


def test_names_with_several_dots_are_photographs_of_their_own(tmp_path):
    names = ["a.png", "b.png", "IMG_2.1.png", "IMG_2.2.png", "v1.0 final.png"]
    tar(tmp_path / "s" / "a.tar", [(name, encoded("PNG")) for name in names])
    assert members(tmp_path / "s") == names
    dotted = [(name, encoded("PNG", 40, 40)) for name in names[2:]]
    tar(tmp_path / "d" / "a.tar", dotted)
    assert len(ImageSource([str(tmp_path / "d")], 32)) == 3


def test_their_tags_belong_to_the_whole_name(tmp_path):
    pictures = [("IMG_2.1.png", encoded("PNG")), ("IMG_2.2.png", encoded("PNG"))]
    texts = [
        ("IMG_2.1.caption", "\ufeffsea, pier".encode()),
        ("IMG_2.2.json", b'{"tags": ["cat"]}'),
    ]
    tar(tmp_path / "a.tar", [*pictures, *texts])
    index = ShardIndex.open(tmp_path / "a.tar")
    assert [index.tags(i) for i in range(2)] == [("sea", "pier"), ("cat",)]


def test_a_mask_beside_a_photograph_is_none_and_a_number_is_another(tmp_path, caplog):
    names = ["7.jpg", "7.mask.png", "7.depth_1.png", "8.jpg", "8.1.jpg", "9.png", "9.jpg"]
    tar(tmp_path / "a.tar", [(name, encoded("JPEG")) for name in names])
    assert members(tmp_path) == ["7.jpg", "8.jpg", "8.1.jpg", "9.png"]
    assert "belong to a photograph: 2 left out, such as 7.mask.png" in caplog.text
    assert "pictures with the name of another: 1 left out, such as 9.jpg" in caplog.text


def test_texts_may_lie_apart_from_their_photographs_and_have_words_in_their_names(tmp_path):
    pictures = [(f"{i}.input.jpg", encoded("JPEG")) for i in range(3)]
    texts = [(f"{i}.output.txt", f"tag {i}".encode()) for i in range(3)]
    texts += [("2.input.txt", b"nearer")]
    tar(tmp_path / "a.tar", pictures + [*texts, ("2.more.txt", b"farther")])
    index = ShardIndex.open(tmp_path)
    assert [index.tags(i) for i in range(len(index))] == [("tag 0",), ("tag 1",), ("nearer",)]


def test_what_a_shard_holds_and_we_cannot_read_is_counted(tmp_path, caplog):
    path = tar(tmp_path / "a.tar", [("1.png", encoded("PNG")), ("2.psd", b"x"), ("3.exr", b"y")])
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("4.png")
        link.type = tarfile.SYMTYPE
        link.linkname = "1.png"
        archive.addfile(link)
    put(tmp_path, {"b.tar.gz": b"-", "c.tgz": b"-"})
    assert members(tmp_path) == ["1.png"]
    assert "images of formats that are not read: 2 left out, such as 2.psd" in caplog.text
    assert "links and sparse files: 1 left out, such as 4.png" in caplog.text
    assert "compressed shards (unpack them to .tar): 2 left out" in caplog.text


def test_the_shards_of_laion_are_read_as_before(tmp_path):
    files = []
    for number in range(3):
        key = f"{number:09d}"
        files += [
            (f"{key}.jpg", encoded("JPEG")),
            (f"{key}.json", b'{"caption": "a, b", "url": "https://a.b/c.jpg"}'),
            (f"{key}.txt", b"a cat, a pier"),
        ]
    tar(tmp_path / "00000.tar", files)
    index = ShardIndex.open(tmp_path)
    assert len(index) == 3 and index.tags(2) == ("a cat", "a pier")


@pytest.mark.parametrize("fill", [b"", b"\0"], ids=["cut", "zeros"])
def test_wherever_a_crash_tears_an_index_it_is_made_again(tmp_path, fill):
    tar(tmp_path / "s" / "a.tar", [("IMG_2.1.png", encoded("PNG")), ("b.png", encoded("PNG"))])
    put(tmp_path / "photos", {"a.png": encoded("PNG", 20, 30), "b.png": encoded("PNG", 40, 50)})

    def sides():
        index = FileIndex(str(tmp_path / "photos"), tmp_path / "cache")
        return index.sides.tolist(), ShardIndex.open(tmp_path / "s").sides.tolist()

    expected = sides()
    (cache,) = (tmp_path / "cache").iterdir()
    for path in (cache, tmp_path / "s" / CACHE):
        whole = path.read_bytes()
        for end in range(0, len(whole), 41):
            path.write_bytes(whole[:end] + fill * (len(whole) - end))
            assert sides() == expected, (path.name, end)
