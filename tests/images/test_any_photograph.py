"""Whatever a photograph holds, its file is written whole, or refused in one line."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.images import Photograph, PictureStream, UnfitFormat, probe, read_photograph
from lsr.images.encoding import write_stream

sides = st.integers(1, 9)
bytes_or_none = st.none() | st.binary(max_size=70) | st.just(bytes(70_000))


@st.composite
def photographs(draw):
    height, width = draw(sides), draw(sides)
    channels, bits = draw(st.integers(1, 4)), draw(st.sampled_from([8, 16]))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    values = random.integers(0, 2**bits, (height, width, channels)) / np.float32(2**bits - 1)
    dpi = st.floats(0.001, 1e6, exclude_max=True)
    return Photograph.of_samples(
        values.astype(np.float32),
        bits,
        icc=draw(st.none() | st.binary(min_size=1, max_size=300)),
        exif=draw(bytes_or_none | st.binary(max_size=70).map(b"II*\0\x08\0\0\0".__add__)),
        xmp=draw(bytes_or_none),
        dpi=draw(st.none() | st.tuples(dpi, dpi)),
        png=draw(st.just(()) | st.just(((b"tEXt", b"a\0b"), (b"gAMA", bytes(4))))),
    )


@settings(max_examples=120)
@given(photograph=photographs(), kind=st.sampled_from(["png", "tiff", "jpeg", "webp"]))
def test_any_photograph_is_written_or_refused(tmp_path, photograph, kind):
    path = tmp_path / "a"
    path.unlink(missing_ok=True)
    try:
        write_stream(path, PictureStream.of(photograph), kind)
    except UnfitFormat as error:
        assert "\n" not in str(error) and not list(tmp_path.iterdir())
        return
    assert probe(path) == photograph.pixels.shape[1::-1]
    again = read_photograph(path)
    if kind in ("png", "tiff"):
        np.testing.assert_array_equal(again.pixels, photograph.pixels)
        assert (again.bits, again.grey) == (photograph.bits, photograph.grey)
