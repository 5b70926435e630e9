"""One picture that several processes compute together is the picture that one computes."""

import os
import signal
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.forked import in_ranks

from lsr.distributed.processes import ALONE, LostProcess
from lsr.images.photograph import Photograph
from lsr.inference import banded_network, cells, memory
from lsr.inference.config import SamplingConfig
from lsr.inference.row_store import RowStore
from lsr.inference.streams import collect
from lsr.inference.upscaler import Upscaler
from lsr.models.denoiser import Denoiser, DenoiserConfig


@pytest.fixture
def upscaler(denoiser, monkeypatch):
    """The small model with cells of 8 x 12 tokens, that is 16 x 24 LR pixels, one row per band."""
    monkeypatch.setattr(cells, "_CELL_ON_CPU", (8, 12))
    monkeypatch.setattr(memory, "_MOST_CELL_ROWS", 1)
    return Upscaler(denoiser, 3.0)


@pytest.fixture
def guided(generator):
    """A small model whose tags change the picture much."""
    model = Denoiser(
        DenoiserConfig(
            width=32, depth=2, head_dim=16, cross_heads=2, stem_width=8, context_dim=12,
            guidance="tags", vocabulary=("cat", "boat"),
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return Upscaler(model, 3.0, SamplingConfig(num_inference_steps=2, guidance_scale=1.5))


def photograph(height, width):
    rng = np.random.default_rng(height)
    return Photograph(rng.random((height, width, 3), dtype=np.float32))


def upscaled(upscaler, picture, processes, tags=""):
    def consume(stream):
        if processes.leads:
            return torch.from_numpy(collect(stream).pixels)
        return list(stream.blocks)

    return upscaler.process(picture, 4, consume, tags=tags, processes=processes)


@pytest.fixture
def head_model(generator):
    """A small model with a head whose correction changes the picture much."""
    model = Denoiser(
        DenoiserConfig(width=32, depth=2, head_dim=16, stem_width=8, head_width=8, head_depth=2)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def test_the_picture_is_bit_for_bit_that_of_one_process(
    upscaler, guided, head_model, monkeypatch, tmp_path
):
    steps = Upscaler(upscaler.denoiser, 3.0, SamplingConfig(num_inference_steps=2))
    in_files = Upscaler(upscaler.denoiser, 3.0, SamplingConfig(color_fix="none"))
    # This correction does not ask for more after the last row.
    wavelet = Upscaler(upscaler.denoiser, 3.0, SamplingConfig(color_fix="wavelet"))
    # A head reaches three rows beyond a part; the last part has one row.
    refined = Upscaler(head_model, 3.0, SamplingConfig(num_inference_steps=2))
    cases = [
        (refined, photograph(34, 30), ""),
        (upscaler, photograph(107, 50), ""),  # seven rows of cells
        (steps, photograph(33, 30), ""),  # three rows of cells: one process has none
        (wavelet, photograph(10, 40), ""),  # one row of cells: all others have none
        (guided, photograph(70, 20), "cat"),
        (in_files, photograph(90, 31), ""),
    ]
    plan = memory.MemoryEstimate.plan

    def plan_with_files(estimate):
        return replace(plan(estimate), in_file=estimate.sampling.color_fix == "none")

    monkeypatch.setattr(memory.MemoryEstimate, "plan", plan_with_files)

    totals = []
    total = banded_network._total

    def spy(sums):
        totals.append(total(sums).numpy().tobytes())
        return total(sums)

    monkeypatch.setattr(banded_network, "_total", spy)

    def work(processes):
        totals.clear()
        pictures = [upscaled(model, picture, processes, tags) for model, picture, tags in cases]
        return pictures, set(totals)

    whole, totals_of_one = work(ALONE)
    assert all(picture.std() > 0.05 for picture in whole)
    parts = in_ranks(4, work, tmp_path)
    assert all(np.array_equal(one, four) for one, four in zip(whole, parts[0][0], strict=True))
    assert not any(len(picture) for pictures, _ in parts[1:] for picture in pictures)
    # Another order of the sums changes a bit of the picture only with bad luck.
    assert all(totals_of_four <= totals_of_one for _, totals_of_four in parts)


def test_rows_of_cells_are_divided_evenly_and_all_belong_to_one_process():
    for height in (1, 8, 9, 50, 64, 107):
        grid = cells.CellGrid(height, 30, (8, 12))
        for size in (1, 2, 3, 8, 20):
            parts = [grid.divided(rank, size).own for rank in range(size)]
            rows = [row for part in parts for row in range(*part)]
            assert rows == list(range(height))
            counts = [-(-(part.bottom - part.top) // 8) for part in parts]
            assert max(counts) - min(counts) <= 1 and parts[0].bottom > 0


def test_a_failure_of_one_process_fails_the_picture_everywhere_and_the_next_one_is_done(
    upscaler, monkeypatch, tmp_path
):
    tall, wide = photograph(50, 20), photograph(40, 31)
    whole = upscaled(upscaler, wide, ALONE)

    def attempt(processes, consume):
        try:
            upscaler.process(tall, 4, consume, processes=processes)
        except (ValueError, OSError, MemoryError) as error:
            return str(error)

    def work(processes):
        def no_disk(store, part, shape, device, in_file):
            raise OSError("no space for a temporary file")

        def full_disk(stream):
            deque(stream.blocks, maxlen=0)
            if processes.leads:
                raise OSError("no space for the result")

        with monkeypatch.context() as patch:
            if processes.rank == 1:
                patch.setattr(RowStore, "__init__", no_disk)
            before = attempt(processes, lambda stream: deque(stream.blocks))
        return before, attempt(processes, full_disk), upscaled(upscaler, wide, processes)

    first, second = in_ranks(2, work, tmp_path)
    for result in (first, second):
        assert result[:2] == ("no space for a temporary file", "no space for the result")
    assert np.array_equal(first[2], whole)


def test_a_shortage_of_memory_in_one_process_is_told_briefly_in_the_others(tmp_path):
    def work(processes):
        try:
            with processes.together():
                if processes.rank == 1:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to ...\n" + 900 * "x")
        except (MemoryError, RuntimeError) as error:
            return str(error)

    assert in_ranks(2, work, tmp_path)[0] == "out of memory in another process"


def test_a_killed_process_ends_the_wait_of_the_others(upscaler, monkeypatch, tmp_path):
    def work(processes):
        def watch(share):
            if processes.rank == 1 and share > 0.5:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            upscaler.process(
                photograph(107, 20),
                4,
                lambda stream: deque(stream.blocks),
                watch,
                processes=processes,
            )
        except LostProcess as error:
            return str(error)

    first, killed, third = in_ranks(3, work, tmp_path)
    assert killed is None
    assert first == third and "ended early" in first and len(first) < 200
