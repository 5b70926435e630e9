"""The suites experts and e2e of `lsr bench`."""

import csv
from dataclasses import asdict

import pytest
import torch
from support.tiny_autoencoder import save_autoencoder

from lsr.bench import end_to_end as bench_e2e
from lsr.bench import experts as bench_experts
from lsr.bench.end_to_end import RandomDeepCompression
from lsr.bench.experts import copies_of
from lsr.bench.flops import counted_flops
from lsr.cli import main
from lsr.models.checkpoint import save_denoiser
from lsr.models.denoiser import Denoiser, DenoiserConfig

CONFIG = DenoiserConfig(width=32, depth=2, stem_width=8)


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch):
    monkeypatch.setattr(bench_e2e, "_OUTPUT", 64)


def rows(path):
    return list(csv.DictReader(path.open()))


def bench(what, out, *more):
    return main(["bench", what, "--out", str(out), "--seconds", "0", "--device", "cpu", *more])


def saved(folder, config):
    """The path of a new model with random weights."""
    path = folder / "model.safetensors"
    save_denoiser(path, Denoiser(config).state_dict(), asdict(config) | {"shift": 3.0})
    return str(path)


@torch.no_grad()
def test_an_expert_has_the_operations_of_one_denoiser_at_every_time(denoiser, generator):
    mixture = copies_of(denoiser)
    lr = torch.rand(1, 3, 8, 8, generator=generator)
    noise = torch.randn(1, 192, 4, 4, generator=generator)
    alone = counted_flops(lambda: denoiser(noise, torch.tensor([0.5]), denoiser.condition(lr)))
    assert alone > 1e6
    for i in range(4):
        t = torch.tensor([sum(mixture.interval(i)) / 2])
        assert counted_flops(lambda t=t: mixture(noise, t, mixture.condition(lr))) == alone


def test_the_table_of_experts(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_experts, "named_size", lambda name: CONFIG)
    assert bench("experts", tmp_path) == 0
    table = rows(tmp_path / "experts.csv")
    assert len(table) == 8 and len({row["GFLOP"] for row in table}) == 1
    assert {row["error"] for row in table} == {"0.0e+00"}
    one, mixture = (float(row["M parameters"]) for row in table[:2])
    assert mixture == pytest.approx(4 * one, abs=0.03)
    assert table[1]["of them at work"] == table[0]["M parameters"]


def test_an_expert_that_computes_something_else_has_no_time(tmp_path, monkeypatch):
    def tampered(denoiser):
        mixture = copies_of(denoiser)
        with torch.no_grad():
            mixture.expert(2).net.out.bias += 1
        return mixture

    monkeypatch.setattr(bench_experts, "named_size", lambda name: CONFIG)
    monkeypatch.setattr(bench_experts, "copies_of", tampered)
    assert bench("experts", tmp_path) == 1
    refused = [row["ms"].startswith("WRONG") for row in rows(tmp_path / "experts.csv")]
    assert refused == 4 * [False] + 2 * [True] + 2 * [False]


def test_the_whole_way_is_shown_in_parts_next_to_the_papers_times(tmp_path, capsys):
    assert bench("e2e", tmp_path, "--model", saved(tmp_path, CONFIG), "--steps", "2") == 0
    table = {row["part"]: row for row in rows(tmp_path / "e2e.csv")}
    assert list(table) == ["tagger", "encode", "one forward", "2 steps", "decode", "total"]
    assert table["total"]["paper, hardware unstated"] == "0.830"
    assert table["one forward"]["paper, hardware unstated"] == "0.036"
    seconds = {part: float(row["seconds"]) for part, row in table.items() if row["seconds"]}
    assert list(seconds) == list(table)[1:] and min(seconds["total"], seconds["one forward"]) > 0
    assert "not the paper's hardware" in capsys.readouterr().out


def test_a_model_in_latents_goes_through_its_autoencoder(tmp_path, capsys):
    autoencoder = save_autoencoder(tmp_path / "autoencoder")
    config = DenoiserConfig(
        autoencoder=str(autoencoder),
        latent_channels=4,
        latent_factor=8,
        residual_std=0,
        width=32,
        depth=1,
        context_dim=8,
        stem_width=8,
    )
    model = saved(tmp_path, config)
    assert bench("e2e", tmp_path, "--model", model, "--dtype", "bfloat16") == 0
    table = {row["part"]: row for row in rows(tmp_path / "e2e.csv")}
    assert table["decode"]["remark"] == "DeepCompression"
    assert table["encode"]["remark"] == "nothing to do"
    assert table["tagger"]["remark"] == "not measured: 16 tags are given"


def test_a_model_with_a_vocabulary_is_given_tags_of_it(tmp_path):
    config = DenoiserConfig(
        width=32, depth=1, stem_width=8, context_dim=8, guidance="tags", vocabulary=("cat", "sea")
    )
    assert bench("e2e", tmp_path, "--model", saved(tmp_path, config)) == 0
    assert len(rows(tmp_path / "e2e.csv")) == 6


def test_the_random_autoencoder_is_the_published_one():
    with torch.device("meta"):
        autoencoder = RandomDeepCompression()._load()
    parts = [
        sum(p.numel() for p in part.parameters()) / 1e6
        for part in (autoencoder.encoder, autoencoder.decoder)
    ]
    assert parts == pytest.approx([153.0, 159.2], abs=0.1)
    assert autoencoder.spatial_compression_ratio == 32 and autoencoder.config.latent_channels == 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "nowhere"], "nowhere: no such model file"),
        (["--size", "huge"], "unknown size 'huge'"),
        (["--size", "tiny", "--model", "x"], "give only one of them"),
        (["--steps", "0"], "--steps must be at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, options, message, capsys):
    assert bench("e2e", tmp_path, *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_reported_in_one_line(tmp_path, capsys):
    assert main(["bench", "e2e", "--device", "cuda", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error == "lsr bench: --device cuda: PyTorch finds no GPU; use --device cpu\n"
