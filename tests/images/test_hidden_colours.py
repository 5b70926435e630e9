"""What nobody sees has no influence on what is seen."""

import numpy as np
import pytest

from lsr.images import Photograph
from lsr.images.hidden_colours import without_hidden_colours
from lsr.inference.upscaler import Upscaler


def test_invisible_pixels_take_the_colour_of_the_nearest_visible_one():
    pixels = np.zeros((1, 6, 3), np.float32)
    pixels[0, 1], pixels[0, 4] = (1, 0, 0), (0, 1, 0)
    alpha = np.array([[0, 1, 0, 0, 0.01, 0]], np.float32)
    found = without_hidden_colours(Photograph(pixels, alpha))
    assert found.pixels[0].argmax(axis=1).tolist() == [0, 0, 0, 1, 1, 1]
    assert found.alpha is alpha


@pytest.mark.parametrize("alpha", [None, np.ones((3, 4)), np.zeros((3, 4)), np.full((3, 4), 0.5)])
def test_there_is_nothing_to_do_if_all_or_nothing_is_visible(alpha):
    opacity = None if alpha is None else alpha.astype(np.float32)
    photograph = Photograph(np.zeros((3, 4, 3), np.float32), opacity)
    assert without_hidden_colours(photograph) is photograph


def test_results_have_no_fringe_of_invisible_colours(denoiser):
    rows, columns = np.mgrid[:24, :24]
    disc = np.hypot(rows - 12, columns - 12) < 8
    results = []
    for hidden in ((0, 0, 0), (255, 0, 99)):
        picture = np.full((24, 24, 4), (*hidden, 0), np.uint8)
        picture[disc] = (240, 240, 240, 255)
        results.append(Upscaler(denoiser, 3.0).upscale(picture))
    assert (results[0] == results[1]).all() and results[0][..., 3].min() == 0
