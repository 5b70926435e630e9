"""Ten thousand photographs: the work begins before all of their headers are read."""

from pathlib import Path

import pytest
from PIL import Image

from lsr.images import Sizes, collect, outputs, sizes


@pytest.fixture
def photographs(tmp_path):
    """Photographs of 100, 200, 300 and 400 pixels, and a file that is none."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(1, 5):
        Image.new("L", (100, number)).save(folder / f"{number}.png")
    (folder / "5.png").write_text("no picture")
    return sorted(folder.iterdir())


def test_with_time_all_headers_are_read(photographs):
    found = Sizes(photographs)
    assert [found[number] * 1e6 for number in range(5)] == pytest.approx([100, 200, 300, 400, 1])
    assert found.total * 1e6 == pytest.approx(1001)
    assert Sizes([]).total == 0


def test_without_time_a_header_is_read_when_its_turn_comes(photographs, monkeypatch):
    read = []
    probe = sizes.probe
    monkeypatch.setattr(sizes, "probe", lambda path: read.append(path) or probe(path))
    monkeypatch.setattr(sizes, "PATIENCE_S", 0)
    found = Sizes(photographs)
    assert (read, found.total) == ([], 0)
    assert found[0] * 1e6 == pytest.approx(100) and found.total * 1e6 == pytest.approx(500)
    assert found[2] * 1e6 == pytest.approx(300) and found.total * 1e6 == pytest.approx(1000)
    assert found[1] * 1e6 == pytest.approx(200) and read == photographs[:3]


def test_the_file_system_is_asked_about_folders_not_about_each_file(
    photographs, tmp_path, monkeypatch
):
    asked = []
    resolve = Path.resolve
    monkeypatch.setattr(Path, "resolve", lambda path: asked.append(path) or resolve(path))
    pairs = collect([photographs[0].parent], tmp_path / "out")
    assert len(pairs) == 5 and asked and not any(path.suffix for path in asked)


@pytest.mark.parametrize("linked", ["photograph", "result", "folder"])
def test_links_do_not_hide_that_a_result_lies_among_the_originals(linked, photographs, tmp_path):
    inbox = photographs[0].parent
    out = tmp_path / "out"
    source = photographs[0]
    if linked == "folder":
        out.symlink_to(inbox)
    else:
        out.mkdir()
    if linked == "photograph":
        (out / "original.jpg").write_bytes(source.read_bytes())
        source = tmp_path / "link.jpg"
        source.symlink_to(out / "original.jpg")
    if linked == "result":
        (out / source.name).symlink_to(source)
    with pytest.raises(ValueError, match="would lie in the folder of the original"):
        collect([source], out)


def test_photographs_that_are_linked_from_the_results_are_left_out(photographs, tmp_path):
    inbox = photographs[0].parent
    out = inbox / "out"
    out.mkdir()
    (out / "old.png").write_bytes(photographs[0].read_bytes())
    (inbox / "linked.png").symlink_to(out / "old.png")
    found = [path for path, _ in collect([inbox], out)]
    assert found == photographs
    assert outputs.find_images(inbox) != photographs, "it was there to be found"
