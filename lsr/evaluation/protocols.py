"""Protocols: conditions that make the values of two evaluations comparable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsr.evaluation.data import Item


@dataclass(frozen=True)
class Protocol:
    """Conditions on a data set.

    Attributes:
        description: Description for the report, which begins with the name of the protocol.
        scale: Scale factor; None allows any.
        paired: True if every image must have an HR photograph, False if none may have one, None
            if both are allowed.
        lr_size: Width and height of every LR photograph; None allows any.
        counts: Allowed numbers of images, each with the name of the data set that has this many;
            empty allows any.
        checks_files: Whether the size of every file is checked before anything is computed.
    """

    description: str
    scale: int | None = None
    paired: bool | None = None
    lr_size: tuple[int, int] | None = None
    counts: Mapping[int, str] = field(default_factory=dict)
    checks_files: bool = True


PROTOCOLS = {
    "reallq250": Protocol(
        "reallq250: 250 pictures of RealLQ250's size, 256 x 256 pixels, enlarged to 1024 x 1024, "
        "without reference; whether they are those of RealLQ250 is not checked",
        scale=4,
        paired=False,
        lr_size=(256, 256),
        counts={250: "RealLQ250"},
    ),
    "crop128": Protocol(
        "crop128: LR crops of 128 x 128 pixels and HR crops of 512 x 512, as many as one of the "
        "published sets has; whether they are those of the set is not checked",
        scale=4,
        paired=True,
        lr_size=(128, 128),
        counts={100: "RealSR", 93: "DRealSR", 3000: "DIV2K-Val"},
    ),
    "paired": Protocol(
        "paired: every HR photograph is exactly as large as the result", paired=True
    ),
    "custom": Protocol(
        "custom: any images; the values cannot be compared with published ones", checks_files=False
    ),
}


def check_protocol(name: str, items: "Sequence[Item]", scale: int | None) -> None:
    """Check that the images obey a protocol; sizes are read from the headers of the files.

    Args:
        name: Key of `PROTOCOLS`.
        items: The images.
        scale: Scale of the model that makes the results; None if the results exist already.

    Raises:
        ValueError: If a condition is violated; names the first violation.
    """
    protocol = PROTOCOLS[name]
    if protocol.counts and len(items) not in protocol.counts:
        expected = " or ".join(f"{count} ({data})" for count, data in protocol.counts.items())
        raise ValueError(
            f"protocol {name} is for {expected} images, not {len(items)}; "
            "--protocol custom takes any number"
        )
    if protocol.scale is not None and scale not in (None, protocol.scale):
        raise ValueError(
            f"protocol {name} is for scale {protocol.scale}, but the model has scale {scale}; "
            "--protocol custom takes any scale"
        )
    if protocol.paired is not None and any(
        (item.hr is not None) != protocol.paired for item in items
    ):
        paired = "needs HR photographs: give a data set with LR and HR folders, or --targets"
        unpaired = "is for LR photographs alone: give a folder without HR photographs"
        raise ValueError(f"protocol {name} {paired if protocol.paired else unpaired}")
    if protocol.checks_files:
        _check_sizes(name, items, scale)


def _check_sizes(name: str, items: "Sequence[Item]", scale: int | None) -> None:
    """Check the size of every file; see `check_protocol`.

    If neither the protocol nor a model defines the scale, the first image does.
    """
    from lsr.images import probe

    protocol = PROTOCOLS[name]
    common = protocol.scale or scale
    for item in items:
        width, height = probe(item.lr)
        if protocol.lr_size is not None and (width, height) != protocol.lr_size:
            expected = " x ".join(map(str, protocol.lr_size))
            raise ValueError(
                f"{item.lr} has {width} x {height} pixels, but protocol {name} requires "
                f"{expected}; --protocol custom takes any size"
            )
        # The result of a model always has the right size; an existing result is checked.
        for file in (item.hr, item.sr if scale is None else None):
            if file is None:
                continue
            large = probe(file)
            common = common or large[0] // width
            if large != (common * width, common * height):
                raise ValueError(
                    f"{file} has {large[0]} x {large[1]} pixels, which is not {common} times "
                    f"the {width} x {height} of {item.lr}"
                )
