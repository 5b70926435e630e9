"""Layers that are applied to a map in bands of rows."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lsr.models.bands import in_bands, regroup

HEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def picture(heights):
    """A map (1, 2, sum of heights, 5), and the same in bands of these heights."""
    whole = torch.randn(1, 2, sum(heights), 5, generator=torch.Generator().manual_seed(1))
    return whole, iter(whole.split(heights, dim=2))


def joined(bands):
    return torch.cat(list(bands), dim=2)


@given(HEIGHTS, st.lists(st.sampled_from([1, 3, 5, 7]), min_size=1, max_size=4))
def test_convolutions_pad_the_borders_of_the_map_and_not_of_the_bands(heights, kernels):
    layers = [nn.Conv2d(2, 2, size, padding=size // 2) for size in kernels]
    whole, bands = picture(heights)
    with torch.no_grad():
        expected = nn.Sequential(*layers)(whole)
        for layer, size in zip(layers, kernels, strict=True):
            bands = in_bands(bands, layer, size // 2, sum(heights))
        torch.testing.assert_close(joined(bands), expected)


@given(HEIGHTS)
def test_a_layer_may_consist_of_several_and_enlarge_the_map(heights):
    def layer(x):
        return F.avg_pool2d(F.interpolate(F.max_pool2d(x, 3, 1, 1), scale_factor=2), 3, 1, 1)

    whole, bands = picture(heights)
    found = joined(in_bands(bands, layer, 2, sum(heights), 2))
    torch.testing.assert_close(found, layer(whole), rtol=0, atol=1e-6)


@given(HEIGHTS, st.integers(1, 12))
def test_regrouped_bands_are_the_same_rows_in_bands_of_about_the_height_asked_for(heights, rows):
    whole, bands = picture(heights)
    bands = list(regroup(bands, rows))
    assert torch.equal(joined(iter(bands)), whole)
    assert max(band.shape[2] for band in bands) <= rows
    assert all(a.shape[2] + b.shape[2] > rows // 2 for a, b in pairwise(bands))


def test_only_the_rows_that_are_needed_are_read():
    read = []

    def rows():
        for number in range(100):
            read.append(number)
            yield torch.zeros(1, 1, 4, 3)

    bands = in_bands(rows(), nn.Conv2d(1, 1, 5, padding=2).requires_grad_(False), 2, 400)
    assert next(bands).shape == (1, 1, 2, 3) and len(read) == 1
    assert next(bands).shape == (1, 1, 4, 3) and len(read) == 2
