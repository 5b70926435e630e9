"""Event files of other programs, and those that a crash has torn."""

import pytest
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.util.tensor_util import make_tensor_proto
from torch.utils.tensorboard import SummaryWriter

from lsr.runs.history import RunLog

CURVE = {step: 20.0 + step / 100 for step in range(0, 2000, 20)}


def as_tensor(tag, value, plugin="scalars"):
    """Return a summary as TensorFlow 2 and Keras write it."""
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))
    return Summary(
        value=[Summary.Value(tag=tag, metadata=metadata, tensor=make_tensor_proto(value))]
    )


def test_curves_that_are_tensors_are_read_to_the_last_value(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        for step, value in CURVE.items():
            writer.add_scalar("new", value, step, new_style=True)
            writer.add_scalar("old", value, step)
            writer._get_file_writer().add_summary(as_tensor("keras", value), step)
            writer._get_file_writer().add_summary(as_tensor("a table", [1.0, 2.0], "other"), step)
    scalars = RunLog.read(tmp_path).scalars
    assert set(scalars) == {"new", "old", "keras"}
    for curve in scalars.values():
        assert curve == pytest.approx(CURVE, rel=1e-6)


def test_tensors_alone_are_a_log_too(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        for step, value in CURVE.items():
            writer.add_scalar("epoch_loss", value, step, new_style=True)
    assert RunLog.read(tmp_path).scalars["epoch_loss"] == pytest.approx(CURVE, rel=1e-6)


def starts_of_records(data):
    """Return the positions in an event file at which its records begin."""
    starts = []
    position = 0
    while position < len(data):
        starts.append(position)
        position += 16 + int.from_bytes(data[position : position + 8], "little")
    return starts


@pytest.mark.parametrize("fill", [b"", b"\0"], ids=["cut", "zeros"])
def test_wherever_the_last_record_is_torn_the_others_are_read_and_it_is_told(
    tmp_path, fill, caplog
):
    with SummaryWriter(str(tmp_path)) as writer:
        for step in (10, 20, 30):
            writer.add_scalar("psnr", float(step), step)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    start = starts_of_records(whole)[-1]
    for end in range(start, len(whole), 1 if fill else 3):
        file.write_bytes(whole[:end] + fill * (len(whole) - end))
        caplog.clear()
        assert RunLog.read(file).scalars == {"psnr": {10: 10.0, 20: 20.0}}, end
        told = [record for record in caplog.records if "is torn or damaged" in record.message]
        assert len(told) == (0 if end == start and not fill else 1), end


@pytest.mark.parametrize("place", [0, 9, 14, -1], ids=["length", "its CRC", "data", "CRC"])
def test_damage_in_the_middle_is_told_and_the_curve_before_it_is_kept(tmp_path, place, caplog):
    """TensorBoard shows such a curve to its damaged record without a word."""
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(1, 6):
            writer.add_scalar("psnr", float(step), step)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    starts = starts_of_records(data)
    third = starts[4] + place if place < 0 else starts[3] + place  # a record is before the first
    data[third] ^= 64
    file.write_bytes(data)
    assert RunLog.read(file).scalars == {"psnr": {1: 1.0, 2: 2.0}}
    assert f"record at byte {starts[3]:,} is torn or damaged" in caplog.text


def test_a_writer_that_begins_again_after_a_crash_replaces_its_later_steps(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        for step in (1, 2, 3):
            writer.add_scalar("psnr", float(step), step)
        start = Event(step=2, session_log=SessionLog(status=SessionLog.START))
        writer._get_file_writer().event_writer.add_event(start)
        writer.add_scalar("psnr", 20.0, 2)
    assert RunLog.read(tmp_path).scalars == {"psnr": {1: 1.0, 2: 20.0}}
