"""Latents made in advance: training reads the latents that it would have computed itself."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import seed_everything
from support.small_latent_experiment import small_experiment, write_photographs
from support.tiny_autoencoder import save_autoencoder

from lsr.cli import main
from lsr.datasets import latents as latent_cache
from lsr.datasets.latents import PLAN, LatentCache
from lsr.files import locked
from lsr.images import Photograph, write_png
from lsr.models.autoencoder_dc import DeepCompression
from lsr.training.cli import LinearSRCLI

N, DRAWS = 5, 2


@pytest.fixture(autouse=True, scope="module")
def _small_files():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latent_cache, "_FILE_BYTES", 4 * 4 * 4 * 4 * 4)  # four latents of 4 x 4 x 4
        yield


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Photographs, an autoencoder, and the full-size stage 1 with a tiny model and dataset."""
    folder = tmp_path_factory.mktemp("workplace")
    photographs = write_photographs(folder / "photographs", N)
    autoencoder = save_autoencoder(folder / "autoencoder")
    config = small_experiment(
        "stage1", autoencoder, photographs, crop_size=32, val_crop_size=32, batch_size=3
    )
    config["model"]["init_from"] = None
    config["model"]["denoiser"] |= {"guidance": "none", "guidance_encoder": None}
    config["trainer"] |= {
        "max_steps": 3,
        "val_check_interval": 3,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
    }
    config["trainer"] |= {"precision": "32-true", "callbacks": []}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def command(workplace, out, *more):
    return [
        "cache-latents",
        "--config",
        str(workplace / "config.yaml"),
        "--out",
        str(out),
        "--draws",
        str(DRAWS),
        "--device",
        "cpu",
        *more,
    ]


@pytest.fixture(scope="module")
def cache(workplace):
    assert main(command(workplace, workplace / "cache")) == 0
    return workplace / "cache"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(workplace, folder, *more):
    """Train and return the losses in order."""
    seed_everything(0)
    arguments = [
        "--config",
        str(workplace / "config.yaml"),
        "--trainer.default_root_dir",
        str(folder),
        *more,
    ]
    cli = LinearSRCLI(arguments, run=False)
    losses = []
    step = cli.model.training_step

    def record(batch, batch_idx):
        losses.append(
            (step(batch, batch_idx), {key: value for key, value in batch.items() if key != "tags"})
        )
        return losses[-1][0]

    cli.model.training_step = record
    cli.trainer.fit(cli.model, cli.datamodule)
    return losses


def test_training_on_cached_latents_is_training_without_them(workplace, cache, tmp_path):
    plain = run(workplace, tmp_path / "plain")
    cached = run(workplace, tmp_path / "cached", "--data.latents", str(cache))
    assert len(plain) == len(cached) == 3, (
        "more samples than photographs, fewer than there are draws of them"
    )
    for (loss, batch), (other, with_latent) in zip(plain, cached, strict=True):
        assert with_latent.pop("latent").shape == (3, 4, 4, 4)
        assert batch.keys() == with_latent.keys() and all(
            np.array_equal(value, with_latent[key]) for key, value in batch.items()
        )
        torch.testing.assert_close(
            loss, other, rtol=1e-5, atol=0
        )  # batches of another composition were encoded
    assert len({loss.item() for loss, _ in plain}) == 3


def test_the_latent_is_used_in_place_of_the_encoder(workplace, cache, tmp_path, monkeypatch):
    data = LinearSRCLI(
        ["--config", str(workplace / "config.yaml"), "--data.latents", str(cache)], run=False
    )
    data.trainer.strategy.connect(data.model)
    data.model.trainer = data.trainer
    data.datamodule.trainer = data.trainer
    data.datamodule.setup("fit")
    batch = next(iter(data.datamodule.train_dataloader()))
    data.model.log = lambda *_, **__: None
    loss = data.model.training_step(batch, 0)
    assert loss != data.model.training_step(batch | {"latent": batch["latent"] + 1}, 0)
    monkeypatch.setattr(DeepCompression, "encode", None)
    assert torch.equal(loss, data.model.training_step(batch, 0))


def test_later_draws_repeat_the_crops_and_not_the_degradations(workplace, cache):
    data = LinearSRCLI(
        ["--config", str(workplace / "config.yaml"), "--data.latents", str(cache)], run=False
    )
    data.datamodule.trainer = data.trainer
    data.datamodule.setup("fit")
    samples = data.datamodule._training
    first, second, later = samples[0, 3], samples[1, 3], samples[DRAWS, 3]
    assert torch.equal(first["latent"], later["latent"]) and torch.equal(first["hr"], later["hr"])
    assert not torch.equal(first["latent"], second["latent"]) and not torch.equal(
        first["lr"], later["lr"]
    )
    assert first["seed"] != later["seed"]


@pytest.mark.parametrize("killed_at", [1, 4])
def test_a_killed_run_continues_to_the_bytes_of_an_unbroken_one(
    workplace, cache, tmp_path, monkeypatch, killed_at
):
    encode, calls = DeepCompression.encode, []

    def die(self, image):
        calls.append(len(image))
        if len(calls) == killed_at:
            raise KeyboardInterrupt
        return encode(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(DeepCompression, "encode", die)
        assert main(command(workplace, tmp_path / "out")) == 130
    (tmp_path / "out" / ".0123456789abcdef.tmp").write_bytes(b"left by a kill")
    before = contents(tmp_path / "out")
    assert len(before) < len(contents(cache))
    with pytest.raises(
        ValueError, match="is missing or damaged .*run the same lsr cache-latents command again"
    ):
        LatentCache(tmp_path / "out")
    assert main(command(workplace, tmp_path / "out", "--data.num_workers", "1")) == 0
    assert contents(tmp_path / "out") == contents(cache)


def test_a_damaged_file_is_told_and_made_again(workplace, cache, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(cache, copy)
    damaged = sorted(copy.glob("*.safetensors"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-3])
    with pytest.raises(ValueError, match=f"{damaged.name} is missing or damaged .1 of 3"):
        LatentCache(copy)
    assert main(command(workplace, copy)) == 0
    assert contents(copy) == contents(cache)


def test_a_whole_cache_is_left_alone(workplace, cache, monkeypatch):
    monkeypatch.setattr(DeepCompression, "encode", None)
    assert main(command(workplace, cache)) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["--draws", "3"],
            "was begun with other settings (draws): give the same ones, or choose another --out",
        ),
        (["--data.crop_size", "40"], "other settings (crop_size, rows)"),
        (["--data.seed", "1"], "other settings (seed)"),
        (["--data.degradation_changes", "{usm_target: false}"], "other settings (usm_target)"),
        (["--model.denoiser.autoencoder", "other"], "other settings (autoencoder)"),
        (
            ["--data.crop_size", "36"],
            "crop_size must be a multiple of 8, the side of a latent position",
        ),
        (["--draws", "0"], "--draws must be at least 1"),
        (
            ["--data", "datamodules.PairedDataModule"],
            "the DataModule PairedDataModule has no crops to encode",
        ),
        (["--model.denoiser.autoencoder", "null"], "there is nothing to encode"),
        (["--model.denoiser.autoencoder", "gone"], "the autoencoder gone cannot be loaded"),
        (["--data.crop_sise", "40"], "crop_sise"),
    ],
)
def test_what_does_not_fit_is_refused(
    workplace, cache, tmp_path, monkeypatch, capsys, changes, message
):
    monkeypatch.chdir(tmp_path)
    save_autoencoder(tmp_path / "other", seed=1)
    before = contents(cache)
    assert main(command(workplace, cache, *changes)) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert contents(cache) == before


def test_two_commands_do_not_write_to_one_folder_at_a_time(workplace, cache, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with locked(out / PLAN, "busy"):
        assert main(command(workplace, out)) == 2
        assert "another lsr cache-latents is writing there" in capsys.readouterr().err
    (out / PLAN).write_bytes((cache / PLAN).read_bytes()[:20])  # torn by a power cut
    assert main(command(workplace, out)) == 0
    assert contents(out) == contents(cache)


def test_a_folder_of_something_else_is_refused(workplace, tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    assert main(command(workplace, tmp_path)) == 2
    assert "did not write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--data.seed", "1"], "its latents were made with seed 0 instead of 1; run lsr"),
        (
            ["--model.denoiser.autoencoder", "other"],
            r"made by another autoencoder than other \(other weights, scaling_factor",
        ),
        (["--data.latents", "nowhere"], "nowhere: no latents in this folder"),
        (["--data.train", "['fewer']"], "its latents were made with other photographs; run lsr"),
    ],
)
def test_training_refuses_latents_of_something_else(
    workplace, cache, tmp_path, monkeypatch, changes, message
):
    monkeypatch.chdir(tmp_path)
    save_autoencoder(tmp_path / "other", 1, scaling_factor=0.5)
    shutil.copytree(workplace / "photographs", tmp_path / "fewer")
    (tmp_path / "fewer" / "0.png").unlink()
    with pytest.raises(ValueError, match=message):
        run(workplace, tmp_path / "run", "--data.latents", str(cache), *changes)


def test_a_photograph_that_has_changed_since_is_noticed(workplace, cache, tmp_path, photo):
    shutil.copytree(workplace / "photographs", tmp_path / "photographs")
    write_png(
        tmp_path / "photographs" / "2.png", Photograph(np.full((72, 96, 3), 0.25, np.float32))
    )
    changed = ["--data.train", f"['{tmp_path / 'photographs'}']"]
    with pytest.raises(ValueError, match=r"2\.png: changed since its latent was made"):
        run(workplace, tmp_path / "run", "--data.latents", str(cache), *changed)


def test_the_identity_is_that_of_the_weights_and_not_of_their_place(workplace, tmp_path):
    moved = shutil.copytree(workplace / "autoencoder", tmp_path / "moved")
    one = DeepCompression(str(workplace / "autoencoder"), 4, 8).identity()
    assert (
        DeepCompression(str(moved), 4, 8).identity() == one and json.loads(json.dumps(one)) == one
    )
    assert one["config"]["scaling_factor"] == 0.41407 and not any(
        name.startswith("_") for name in one["config"]
    )
    other = DeepCompression(str(save_autoencoder(tmp_path / "other", seed=1)), 4, 8).identity()
    assert other["sha256"] != one["sha256"] and other["config"] == one["config"]
