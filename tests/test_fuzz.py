"""The fuzzer: a few files of every kind without a fault, and faults that it must find."""

import time

import numpy as np
import pytest
from fuzz import watched
from fuzz.mutations import mutated, with_right_checksums
from fuzz.targets import Target
from support.image_files import RGBA8, png


def test_a_few_mutated_files_of_every_kind_do_no_harm(tmp_path):
    faults = [fault for _, fault in watched.fuzz(1, range(150), tmp_path / "faults") if fault]
    assert faults == []


def test_number_and_seed_determine_a_file():
    data = png(RGBA8, 6)
    one, same, other = (
        [mutated(data, [data], np.random.default_rng([seed, n])) for n in range(20)]
        for seed in (0, 0, 1)
    )
    assert one == same != other and len(set(one)) > 10


def test_checksums_are_made_right():
    data = png(RGBA8, 6)
    assert with_right_checksums(data) == data
    wrong = data[:29] + b"\1\2\3\4" + data[33:]
    assert wrong != data and with_right_checksums(wrong) == data


def crash(path, out):
    raise KeyError("planted")


def hang(path, out):
    while True:
        time.process_time()


def hoard(path, out):
    assert np.ones(2**25).sum() > 0


def stray(path, out):
    (out.parent / "elsewhere").write_text("")


def die(path, out):
    import os

    os._exit(7)


def overwrite(path, out):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (crash, "KeyError: 'planted'"),
        (hang, "no answer"),
        (hoard, "GiB of memory"),
        (stray, "written outside of the results: {'elsewhere'}"),
        (die, "died (7)"),
        (overwrite, "the file was changed"),
    ],
)
def test_planted_faults_are_found(tmp_path, monkeypatch, read, what):
    if read is hang:  # the others may take their time on a busy machine
        monkeypatch.setattr(watched, "LONGEST_S", 0.1)
    monkeypatch.setattr(watched, "MOST_BYTES", 2**23)
    monkeypatch.setattr(
        watched, "targets", lambda folder: {"bytes": Target({"a": b"seed"}, read, 1)}
    )
    found = list(watched.fuzz(0, range(2), tmp_path / "faults"))
    assert [kind for kind, _ in found] == ["bytes", "bytes"]
    assert found[0][1] is not None and what in found[0][1].what
    assert found[0][1].kept.is_file()
