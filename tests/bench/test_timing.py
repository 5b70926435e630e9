"""How calls are timed, and the roofline that times are compared with."""

import torch

from lsr.bench.timing import Roofline, measure_roofline, time_calls

CPU = torch.device("cpu")


def test_a_measurement_is_the_median_of_calls_after_the_warm_up():
    calls = []
    taken = time_calls(lambda: calls.append(1), CPU, 0.0)
    assert taken.runs == 3 and len(calls) == 5 and taken.peak_bytes is None and taken.seconds >= 0


def test_the_roofline_is_the_longer_of_arithmetic_and_memory():
    line = Roofline(flops=100.0, bytes=10.0)
    assert line.least_seconds(1000, 1) == 10 and line.least_seconds(1, 1000) == 100
    measured = measure_roofline(CPU, torch.float32)
    assert measured.flops > 1e8 and measured.bytes > 1e7
