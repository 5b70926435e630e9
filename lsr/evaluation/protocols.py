"""Protocols: what a set of images must be before its figures may stand beside others'."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsr.evaluation.data import Item


@dataclass(frozen=True)
class Protocol:
    """Conditions on a data set.

    Attributes:
        description: In words, for the report.
        scale: Enlargement; None for any.
        paired: Whether every image has an HR photograph (True), none has (False), or either (None).
        lr_size: Width and height of every LR photograph; None for any.
        counts: Allowed numbers of images, with the data set they tell; empty for any.
        checks_files: Whether every file's size is looked at before anything is computed.
    """

    description: str
    scale: int | None = None
    paired: bool | None = None
    lr_size: tuple[int, int] | None = None
    counts: Mapping[int, str] = field(default_factory=dict)
    checks_files: bool = True


PROTOCOLS = {
    "reallq250": Protocol(
        "RealLQ250: 250 real photographs of 256 x 256 pixels, enlarged to 1024 x 1024, without reference",
        scale=4,
        paired=False,
        lr_size=(256, 256),
        counts={250: "RealLQ250"},
    ),
    "crop128": Protocol(
        "crop128: LR crops of 128 x 128 pixels and HR crops of 512 x 512",
        scale=4,
        paired=True,
        lr_size=(128, 128),
        counts={100: "RealSR", 93: "DRealSR", 3000: "DIV2K-Val"},
    ),
    "paired": Protocol("paired: every HR photograph exactly as large as the result", paired=True),
    "custom": Protocol("custom: whatever is there; nothing published compares", checks_files=False),
}


def check_protocol(name: str, items: "Sequence[Item]", scale: int | None) -> None:
    """See that the images are what the protocol says, from the headers of their files.

    Args:
        name: Key of `PROTOCOLS`.
        items: The images.
        scale: Of the model; None where the results are there already.

    Raises:
        ValueError: If they are not, with the first that is wrong.
    """
    protocol = PROTOCOLS[name]
    if protocol.counts and len(items) not in protocol.counts:
        expected = " or ".join(f"{count} ({data})" for count, data in protocol.counts.items())
        raise ValueError(
            f"protocol {name} is for {expected} images, not {len(items)}; --protocol custom takes any number"
        )
    if protocol.scale is not None and scale not in (None, protocol.scale):
        raise ValueError(f"protocol {name} is for scale {protocol.scale}, the model's is {scale}")
    if protocol.paired is not None and any(
        (item.hr is not None) != protocol.paired for item in items
    ):
        wanted = (
            "needs HR photographs (LR and HR folders, or --targets)"
            if protocol.paired
            else "has no HR photographs"
        )
        raise ValueError(f"protocol {name} {wanted}")
    if not protocol.checks_files:
        return

    from lsr.images import probe

    common = protocol.scale or scale
    for item in items:
        width, height = probe(item.lr)
        if protocol.lr_size is not None and (width, height) != protocol.lr_size:
            raise ValueError(
                f"{item.lr} has {width} x {height} pixels; protocol {name} has {' x '.join(map(str, protocol.lr_size))}"
            )
        if item.hr is not None:
            large = probe(item.hr)
            common = common or large[0] // width
            if large != (common * width, common * height):
                raise ValueError(
                    f"{item.hr} has {large[0]} x {large[1]} pixels, which is not {common} times the {width} x {height} of {item.lr}"
                )
        if scale is None and item.sr is not None:
            made = probe(item.sr)
            common = common or made[0] // width
            if made != (common * width, common * height):
                raise ValueError(
                    f"{item.sr} has {made[0]} x {made[1]} pixels, which is not {common} times the {width} x {height} of {item.lr}"
                )
