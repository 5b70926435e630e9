import pytest
from PIL import Image

from lsr.evaluation.data import Item
from lsr.evaluation.protocols import PROTOCOLS, check_protocol


@pytest.fixture
def photograph(tmp_path):
    """Make a black photograph of a given size; one size is one file."""

    def make(*size):
        path = tmp_path / "{}x{}.png".format(*size)
        if not path.exists():
            Image.new("RGB", size).save(path)
        return path

    return make


def items(count, lr, hr=None, sr=None):
    return [Item(str(i), lr, hr, sr, "") for i in range(count)]


def test_images_that_obey_the_protocol_pass(photograph):
    check_protocol("reallq250", items(250, photograph(256, 256)), 4)
    check_protocol("reallq250", items(250, photograph(256, 256), sr=photograph(1024, 1024)), None)
    for count in (100, 93, 3000):
        check_protocol("crop128", items(count, photograph(128, 128), photograph(512, 512)), 4)
    check_protocol("paired", items(2, photograph(30, 20), photograph(60, 40)), 2)
    check_protocol(
        "paired", items(1, photograph(30, 20), photograph(90, 60), photograph(90, 60)), None
    )
    check_protocol("custom", items(1, photograph(30, 20), photograph(61, 43)), 2)


@pytest.mark.parametrize(
    ("protocol", "count", "lr", "hr", "sr", "scale", "message"),
    [
        ("reallq250", 249, (256, 256), None, None, 4, r"is for 250 \(RealLQ250\) images, not 249"),
        (
            "reallq250",
            250,
            (256, 255),
            None,
            None,
            4,
            "has 256 x 255 pixels, but protocol reallq250 requires 256 x 256",
        ),
        (
            "reallq250",
            250,
            (256, 256),
            None,
            None,
            2,
            "is for scale 4, but the model has scale 2",
        ),
        ("reallq250", 250, (256, 256), (1024, 1024), None, 4, "is for LR photographs alone"),
        (
            "reallq250",
            250,
            (256, 256),
            None,
            (512, 512),
            None,
            "512 x 512 pixels, which is not 4 times the 256 x 256",
        ),
        (
            "crop128",
            101,
            (128, 128),
            (512, 512),
            None,
            4,
            r"100 \(RealSR\) or 93 \(DRealSR\) or 3000 \(DIV2K-Val\) images, not 101",
        ),
        ("crop128", 100, (128, 128), None, None, 4, "needs HR photographs"),
        (
            "paired",
            1,
            (30, 20),
            (120, 81),
            None,
            4,
            "120 x 81 pixels, which is not 4 times the 30 x 20",
        ),
        ("paired", 1, (30, 20), (60, 40), None, 4, "not 4 times"),
        ("paired", 1, (30, 20), (60, 40), (90, 60), None, "90 x 60 pixels, which is not 2 times"),
    ],
)
def test_images_that_violate_the_protocol_are_refused(
    photograph, protocol, count, lr, hr, sr, scale, message
):
    files = [size and photograph(*size) for size in (lr, hr, sr)]
    with pytest.raises(ValueError, match=message):
        check_protocol(protocol, items(count, *files), scale)


def test_every_description_begins_with_the_name():
    assert all(
        protocol.description.lower().startswith(name) for name, protocol in PROTOCOLS.items()
    )
