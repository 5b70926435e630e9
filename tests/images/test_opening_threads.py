"""Pillow's settings of the whole process while several threads open files."""

from threading import Barrier, Thread

from PIL import Image, ImageFile, PngImagePlugin
from support.patience import PATIENCE_S

from lsr.images.opening import open_image_file


def settings():
    return (
        ImageFile.LOAD_TRUNCATED_IMAGES,
        Image.MAX_IMAGE_PIXELS,
        PngImagePlugin.MAX_TEXT_CHUNK,
    )


def test_they_are_the_usual_ones_after_files_that_were_open_at_the_same_time(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (2, 2)).save(path)
    usual = settings()
    first_is_open, second_is_open, first_is_closed = (
        Barrier(2, timeout=PATIENCE_S) for _ in range(3)
    )

    def second():
        first_is_open.wait()
        with open_image_file(path):
            second_is_open.wait()
            first_is_closed.wait()

    thread = Thread(target=second)
    thread.start()
    with open_image_file(path):
        first_is_open.wait()
        second_is_open.wait()
        assert settings() != usual
    assert settings() != usual, "the second file is still open"
    first_is_closed.wait()
    thread.join()
    assert settings() == usual
