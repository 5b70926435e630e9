"""Sampling in bands of rows compared with sampling the whole picture."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.allocations import Allocations

from lsr.batch import Context
from lsr.inference.cells import CellGrid, compute_in_threads
from lsr.inference.config import SamplingConfig
from lsr.inference.memory import MemoryPlan
from lsr.inference.noise import NoiseRows
from lsr.inference.picture_sampler import PictureSampler
from lsr.inference.sampling import super_resolve
from lsr.models.denoiser import Denoiser, DenoiserConfig
from lsr.models.mixture import ExpertMixture, picture_grid

CPU = torch.device("cpu")


def random_model(seed=0, experts=1, **config):
    """Return a small model whose residual is as large as that of a trained one."""
    generator = torch.Generator().manual_seed(seed)
    small = DenoiserConfig(**{"width": 32, "depth": 2, "head_dim": 16, "stem_width": 8} | config)
    boundaries = [(i + 1) / experts for i in range(experts - 1)]
    model = ExpertMixture(small, boundaries) if experts > 1 else Denoiser(small)
    for name, parameter in model.named_parameters():
        std = 0.3 if name.endswith("scale_shift_table") else parameter[0].numel() ** -0.5
        torch.nn.init.normal_(parameter, std=std, generator=generator)
    return model.eval().requires_grad_(False)


def lr_image(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def sampler_of(model, lr, cell_size=(4, 6), cell_rows=1, in_file=False, context=None, **sampling):
    grid = CellGrid(*picture_grid(model, *lr.shape[:2]), cell_size, cell_rows)
    plan = MemoryPlan(grid, in_file, sweeps=3)
    return PictureSampler(
        denoiser=model,
        lr=lr,
        shift=3.0,
        sampling=SamplingConfig(**sampling),
        plan=plan,
        device=CPU,
        context=context,
    )


def sampled(*arguments, **options):
    return torch.cat(list(sampler_of(*arguments, **options).rows()), dim=1)


def noise(seed, shape):
    channels, height, width = shape
    rows = NoiseRows(seed, (width, channels), lambda function, items: [*map(function, items)])
    return rows.read((0, height)).permute(2, 0, 1)[None]


def of_whole_batch(model, lr, steps=1, seed=0, context=None, guidance_scale=1.0):
    """Return what the sampler of validation makes of the picture."""
    tokens, mask = context or (None, None)
    height, width = (model.config.scale * side for side in lr.shape[:2])
    first = model.config.scale * model.margin
    lr = np.pad(lr, ((model.margin,) * 2, (model.margin,) * 2, (0, 0)), mode="edge")
    sr = super_resolve(
        model,
        torch.from_numpy(lr).permute(2, 0, 1)[None] * 2 - 1,
        lambda shape: noise(seed, shape),
        steps,
        3.0,
        context=tokens,
        mask=mask,
        guidance_scale=guidance_scale,
    )
    return (sr[0, :, first : first + height, first : first + width] + 1) / 2


@settings(max_examples=25)
@given(
    height=st.integers(1, 41),
    width=st.integers(1, 41),
    steps=st.integers(1, 3),
    experts=st.sampled_from([1, 3]),
    qk_norm=st.booleans(),
    prediction=st.sampled_from(["preconditioned", "velocity"]),
    residual_std=st.sampled_from([0.0, 0.125]),
    head_width=st.sampled_from([0, 8]),
)
def test_bands_give_what_the_whole_picture_gives(
    height, width, steps, experts, qk_norm, prediction, residual_std, head_width
):
    model = random_model(
        experts=experts,
        qk_norm=qk_norm,
        prediction=prediction,
        residual_std=residual_std,
        head_width=head_width,
        head_depth=1,
    )
    lr = lr_image(height, width)
    whole = of_whole_batch(model, lr, steps)
    bands = sampled(model, lr, num_inference_steps=steps)
    assert bands.shape == (3, 4 * height, 4 * width)
    torch.testing.assert_close(bands, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("masked", [False, True])
def test_a_guided_picture_is_what_the_whole_picture_gives(scale, masked, generator):
    model = random_model(context_dim=12, guidance="text", guidance_encoder="none", cross_heads=2)
    tokens = torch.randn(1, 5, 12, generator=generator)
    mask = torch.ones(1, 5, dtype=torch.bool)
    mask[0, 3:] = not masked
    context = Context(tokens, mask)
    lr = lr_image(21, 30)
    whole = of_whole_batch(model, lr, 2, context=context, guidance_scale=scale)
    for cell_size in ((4, 6), (100, 100)):
        bands = sampled(
            model, lr, cell_size, context=context, num_inference_steps=2, guidance_scale=scale
        )
        torch.testing.assert_close(bands, whole, rtol=0, atol=1e-5)
    assert not torch.allclose(bands, of_whole_batch(model, lr, 2), atol=1e-3)


def test_neither_bands_nor_threads_nor_files_change_a_bit(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model, lr = random_model(), lr_image(45, 33)
    expected = sampled(model, lr, num_inference_steps=2)
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            for cell_rows in (1, 2, 5, 100):
                for in_file in (False, True):
                    got = sampled(
                        model, lr, cell_rows=cell_rows, in_file=in_file, num_inference_steps=2
                    )
                    assert torch.equal(got, expected)
            assert torch.get_num_threads() == count, "the number of threads is restored"
    finally:
        torch.set_num_threads(threads)


def test_the_seed_decides_the_noise_and_the_noise_of_a_row_does_not_depend_on_the_others():
    assert torch.equal(noise(0, (6, 9, 5))[:, :, 4:], noise(0, (6, 9, 5))[:, :, 4:])
    compute = lambda function, items: [*map(function, items)]  # noqa: E731
    some = NoiseRows(0, (5, 6), compute).read((4, 9))
    assert torch.equal(some.permute(2, 0, 1)[None], noise(0, (6, 9, 5))[:, :, 4:])
    assert not torch.equal(noise(0, (6, 9, 5)), noise(1, (6, 9, 5)))
    assert abs(float(noise(0, (64, 64, 64)).std()) - 1) < 0.01


def test_tokens_in_a_file_leave_nothing_behind_even_while_they_are_used(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows = sampler_of(random_model(), lr_image(45, 33), in_file=True).rows()
    next(rows)
    assert os.listdir(tmp_path) == [], "a file without a name is gone after SIGKILL too"
    assert open_files(tmp_path) or not os.path.isdir("/proc/self/fd")
    rows.close()
    assert not open_files(tmp_path)


def open_files(folder):
    """Return the files of a folder that this process has open, where the system tells them."""
    links = Path("/proc/self/fd").glob("*")
    return [link for link in links if link.is_symlink() and str(folder) in os.readlink(link)]


def test_a_full_disk_is_named_with_its_folder_before_the_work_begins(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.posix_fallocate", no_space)
    rows = sampler_of(random_model(), lr_image(45, 33), in_file=True).rows()
    with pytest.raises(OSError, match=f"{tmp_path} has no space for a temporary file of .* TMPDIR"):
        next(rows)


def test_a_reader_that_stops_early_stops_the_work():
    watched = []
    sampler = replace(sampler_of(random_model(), lr_image(90, 20)), watch=watched.append)
    rows = sampler.rows()
    next(rows)
    rows.close()
    assert 0 < len(watched) and watched[-1] < 1


def test_other_threads_of_the_program_keep_their_number_of_threads():
    torch.set_num_threads(3)
    rows = sampler_of(random_model(), lr_image(45, 33)).rows()
    next(rows)
    with ThreadPoolExecutor(1) as server:
        assert server.submit(torch.get_num_threads).result() == 3
    with compute_in_threads(CPU) as compute:
        assert set(compute(lambda _: torch.get_num_threads(), range(9))) == {1}


def test_the_modes_of_the_caller_neither_reach_the_threads_nor_are_changed():
    sampler = sampler_of(random_model(), lr_image(45, 33), num_inference_steps=2)
    expected = torch.cat(list(sampler.rows()), dim=1)
    torch.set_num_threads(2)
    with torch.inference_mode():
        assert torch.equal(torch.cat(list(sampler.rows()), dim=1), expected)
    rows = sampler.rows()
    next(rows)
    assert torch.is_grad_enabled()


def test_memory_of_a_picture_in_a_file_is_that_of_its_bands(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = random_model()

    def peak(height, in_file):
        lr = lr_image(height, 96)
        with Allocations([*model.parameters(), torch.from_numpy(lr)]) as allocations:
            for _ in sampler_of(model, lr, in_file=in_file).rows():
                pass
        return allocations.most

    in_file, in_memory = (peak(120, way) - peak(40, way) for way in (True, False))
    # Tokens of 32 numbers, each for 2 x 2 LR pixels. The sums of every row of cells stay in memory.
    tokens = 4 * 32 * 48 * (120 - 40) // 2
    assert in_memory >= tokens > 3 * in_file
