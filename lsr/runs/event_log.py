"""Reading curves from TensorBoard event files, of PyTorch, TensorFlow or Keras."""

import logging
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

log = logging.getLogger(__name__)

_SCALARS = "scalars"
"""Name of TensorBoard's plugin to which a curve belongs that is logged as tensors."""

_FRAME = struct.Struct("<QI")
"""Head of a record: length of its data, and the CRC of the length. The CRC of the data follows."""


def read_events(file: Path) -> tuple[float | None, dict[str, dict[int, float]]]:
    """Return the curves of an event file by name and step, and the time at which it begins.

    TensorFlow 2, Keras and `new_style=True` of PyTorch log curves as tensors of one number; these
    are read too. A record that a crash has torn ends the file, and a warning tells it.

    Raises:
        OSError: The file cannot be read.
    """
    from tensorboard.backend.event_processing.event_accumulator import (
        SCALARS,
        TENSORS,
        EventAccumulator,
    )

    # Size 0 keeps every value; by default the accumulator drops values of long runs at random.
    events = EventAccumulator(str(file), size_guidance={SCALARS: 0, TENSORS: 0})
    events.Reload()
    tags = events.Tags()
    curves = {
        name: {event.step: event.value for event in events.Scalars(name)} for name in tags[SCALARS]
    }
    for name in tags[TENSORS]:
        if events.SummaryMetadata(name).plugin_data.plugin_name == _SCALARS:
            curves.setdefault(name, {}).update(_tensor_curve(events, name))
    if curves and is_torn(file):
        log.warning("%s: a crash has torn its last record, which is left out", file)
    return (events.FirstEventTimestamp() if curves else None), curves


def _tensor_curve(events: "EventAccumulator", name: str) -> dict[int, float]:
    from tensorboard.util.tensor_util import make_ndarray

    values = ((event.step, make_ndarray(event.tensor_proto)) for event in events.Tensors(name))
    return {step: float(value.item()) for step, value in values if value.size == 1}


def is_torn(file: Path) -> bool:
    """Return whether the last record of an event file is incomplete or damaged."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    with file.open("rb") as stream:
        while head := stream.read(_FRAME.size):
            if len(head) < _FRAME.size or masked_crc32c(head[:8]) != _FRAME.unpack(head)[1]:
                return True
            data = stream.read(_FRAME.unpack(head)[0])
            crc = stream.read(4)
            if len(crc) < 4:
                return True
    return masked_crc32c(data) != struct.unpack("<I", crc)[0]
