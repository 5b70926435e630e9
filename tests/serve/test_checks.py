"""Photographs are refused by their header, in one line, and names of files are cleaned."""

import io

import numpy as np
import pytest

pytest.importorskip("gradio", reason="gradio is missing: pip install 'linearsr[app]'")

from support.served import animation, bomb, encoded

from lsr.images import EncodedImage
from lsr.serve.checks import check_photograph, cleaned_name
from lsr.serve.limits import Limits, Refused

LIMITS = Limits(megapixels=0.01, megabytes=0.1)


def checked(data: bytes, scale: float = 4, name: str = "a.png") -> tuple[int, int]:
    return check_photograph(EncodedImage(name, io.BytesIO(data)), scale, LIMITS)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def test_a_photograph_within_the_limits_is_taken():
    assert checked(encoded(noise(20, 30))) == (30, 20)


@pytest.mark.parametrize(
    ("data", "scale", "status", "words"),
    [
        (b"", 4, 415, "empty"),
        (b"I am no picture", 4, 415, "not a PNG"),
        (encoded(noise(9, 9))[:30], 4, 415, ""),
        (animation(), 4, 415, "animation"),
        (bomb(), 4, 413, "more than the limit of 0.01 megapixels"),
        (encoded(np.zeros((101, 100), np.uint8)), 4, 413, "100x101 pixels are more"),
        (encoded(noise(200, 200)), 4, 413, "0.1 MB"),
        (encoded(noise(20, 30)), 20, 413, "600x400 pixels"),
    ],
    ids="empty text torn animation bomb pixels bytes result".split(),
)
def test_what_is_no_photograph_or_too_large_is_refused_in_one_line(data, scale, status, words):
    with pytest.raises(Refused) as refused:
        checked(data, scale)
    line = str(refused.value)
    assert refused.value.status == status
    assert line.startswith("a.png: ") and words in line and len(line) < 200
    assert "\n" not in line and "--max-pixels" not in line


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("photo.JPG", "photo.JPG"),
        ("Übung 1.jpeg", "Übung 1.jpeg"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\x.png", "x.png"),
        ("/", "photograph"),
        ("..", "photograph"),
        (".htaccess", "htaccess"),
        (".png", "png"),
        ("a\0b\n<script>.png", "abscript.png"),
        ("%2e%2e%2fx.png", "2e2e2fx.png"),
        ("", "photograph"),
        (5000 * "é" + ".png", 60 * "é" + ".png"),
        ("a." + 5000 * "b", "a." + 58 * "b"),
    ],
)
def test_names_lose_folders_and_what_a_system_interprets(name, clean):
    assert cleaned_name(name) == clean
    assert len(clean.encode()) < 255
