from pathlib import Path

import numpy as np
from PIL import Image

from lsr.inference.shares import shares


def test_photographs_go_by_size_to_the_process_with_the_fewest_pixels(tmp_path):
    sides = {"a": 10, "b": 30, "c": 20, "d": 22, "large": 90, "e": 5}
    for name, side in sides.items():
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "torn.png").write_text("no picture")
    pairs = [(tmp_path / f"{name}.png", Path(f"{name}.out")) for name in [*sides, "torn"]]

    def names(of):
        return [source.stem for source, _ in of]

    found = shares(pairs, 3, lambda height, width: height * width > 1000)
    assert names(found.together) == ["large"]
    assert [names(own) for own in found.alone] == [["b"], ["d", "e"], ["c", "a", "torn"]]
    one = shares(pairs, 1, lambda height, width: True)
    assert one == ([], [pairs]), "one process has no others to wait for"
