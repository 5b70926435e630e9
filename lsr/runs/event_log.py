"""Reading curves from TensorBoard event files, of PyTorch, TensorFlow or Keras.

File format: records of 8 bytes length, the masked CRC-32C of the length, the data (a protocol
buffer `Event`), and the masked CRC-32C of the data, as TensorFlow's `record_writer.h` writes them.
"""

import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

log = logging.getLogger(__name__)

_SCALARS = "scalars"
"""Name of TensorBoard's plugin to which a curve belongs that is logged as tensors."""

_HEAD = struct.Struct("<QI")
"""Head of a record: length of its data, and the CRC of the length."""

_CRC = struct.Struct("<I")


def read_events(file: Path) -> tuple[float | None, dict[str, dict[int, float]]]:
    """Return the curves of an event file by name and step, and the time at which it begins.

    TensorFlow 2, Keras and `new_style=True` of PyTorch log curves as tensors of one number; these
    are read too. A record that is torn or damaged ends the file, and a warning tells it.

    Raises:
        OSError: The file cannot be read.
    """
    began: float | None = None
    curves: dict[str, dict[int, float]] = {}
    plugins: dict[str, str] = {}
    for event in _events(file):
        began = event.wall_time if began is None else began
        if event.session_log.status == event.session_log.START:
            _forget(curves, event.step)
        for value in event.summary.value:
            number = _number(value, plugins)
            if number is not None:
                curves.setdefault(value.tag, {})[event.step] = number
    return (began if curves else None), curves


def _forget(curves: dict[str, dict[int, float]], step: int) -> None:
    """Remove what was logged from a step on: TensorFlow 1 began again there after a crash."""
    for curve in curves.values():
        for later in [each for each in curve if each >= step]:
            del curve[later]


def _number(value: Any, plugins: dict[str, str]) -> float | None:
    """Return the number of a value of a summary; None if it is something else.

    Args:
        value: The value, `Summary.Value`.
        plugins: For each curve the plugin that its first value names; it is filled in.
    """
    from tensorboard.util.tensor_util import make_ndarray

    if value.HasField("metadata"):
        plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
    if value.HasField("simple_value"):
        return value.simple_value
    if not value.HasField("tensor") or plugins.get(value.tag) != _SCALARS:
        return None
    try:
        array = make_ndarray(value.tensor)
        return float(array.item()) if array.size == 1 else None
    except (TypeError, ValueError):  # not a number, or a shape that does not fit the contents
        return None


def _events(file: Path) -> Iterator[Any]:
    """Yield the events of a file up to a record that is torn or damaged."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto import event_pb2

    protocol: Any = event_pb2  # its classes are made while it is imported, unseen by pyright
    size = file.stat().st_size
    with file.open("rb") as stream:
        position = 0
        while position < size:
            try:
                event = protocol.Event.FromString(_record(stream, size))
            except (DecodeError, EOFError):
                log.warning(
                    "%s: its record at byte %s is torn or damaged: it and the rest are left out",
                    file,
                    f"{position:,}",
                )
                return
            yield event
            position = stream.tell()


def _record(stream: BinaryIO, size: int) -> bytes:
    """Return the data of the next record of a file of `size` bytes; EOFError if it is not whole."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size or masked_crc32c(head[:8]) != _HEAD.unpack(head)[1]:
        raise EOFError
    length = _HEAD.unpack(head)[0]
    if length > size - stream.tell() - _CRC.size:
        raise EOFError
    data = stream.read(length)
    if masked_crc32c(data) != _CRC.unpack(stream.read(_CRC.size))[0]:
        raise EOFError
    return data
