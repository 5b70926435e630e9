"""Fully transparent pixels have colours that nobody sees; these must not bleed into others."""

from dataclasses import replace

import numpy as np

from lsr.images.photograph import Photograph


def without_hidden_colours(photograph: Photograph) -> Photograph:
    """Return a photograph whose invisible pixels have the colour of the nearest visible one.

    Programs leave any colour there, often black. Whatever blends neighbours, such as resampling,
    would make a dark fringe of it around what is visible.
    """
    from scipy.ndimage import distance_transform_edt

    if photograph.alpha is None:
        return photograph
    hidden = photograph.alpha == 0
    if hidden.all() or not hidden.any():
        return photograph
    nearest = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    assert isinstance(nearest, np.ndarray)
    rows, columns = nearest
    return replace(photograph, pixels=photograph.pixels[rows, columns])
