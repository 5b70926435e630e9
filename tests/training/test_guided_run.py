"""Whole runs with guidance, from the files of photographs to a model that upscales."""

import csv
import json
import logging

import pytest
import torch
from PIL import Image
from support.pretrained_folders import save_text_encoder

from lsr.cli import main
from lsr.inference.upscaler import Upscaler

TINY = """
model:
  denoiser:
    {{width: 16, depth: 1, head_dim: 8, cross_heads: 2, stem_width: 4, context_dim: 16, {guidance}}}
  optimizer: {{lr: 0.01, warmup_steps: 1}}
  val_metrics: [psnr_y]
{model}
data:
  class_path: datamodules.RealESRGANDataModule
  init_args:
    train: [{photos}]
    val: [{photos}]
    test: [{photos}]
    crop_size: 32
    val_crop_size: 32
    batch_size: 2
    num_workers: 0
trainer:
  default_root_dir: {out}
  accelerator: cpu
  max_steps: 3
  max_epochs: -1
  val_check_interval: 3
  check_val_every_n_epoch: null
  enable_progress_bar: false
  enable_model_summary: false
  logger: {{class_path: lsr.runs.csv_logger.MetricsCSVLogger, init_args: {{save_dir: {out}}}}}
  callbacks:
    - {{class_path: callbacks.EMA, init_args: {{decay: 0.9}}}}
    - {{class_path: callbacks.LastCheckpoint, init_args: {{dirpath: {out}/checkpoints}}}}
"""


@pytest.fixture
def photos(tmp_path, photo):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(photo[:, i * 20 :]).save(folder / f"{i}.png")
    lines = [
        {"file": "0.png", "tags": ["sea", "boat"]},
        {"file": "1.png", "tags": ["cat"]},
        {"file": "gone.png", "tags": ["castle"]},
    ]
    (folder / "tags.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def experiment(tmp_path, photos):
    def write(guidance, model="", name="run"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            TINY.format(guidance=guidance, model=model, photos=photos, out=tmp_path / name)
        )
        return path

    return write


def last(tmp_path, name="run"):
    return tmp_path / name / "checkpoints" / "last.ckpt"


def test_a_run_with_tags_trains_validates_and_upscales(tmp_path, photos, experiment, photo, caplog):
    (tmp_path / "vocabulary.txt").write_text("sea\nboat\n")
    config = experiment("guidance: tags", f"  vocabulary: {tmp_path / 'vocabulary.txt'}")
    with caplog.at_level(logging.WARNING):
        assert main(["fit", "--config", str(config)]) == 0
    assert "1 of its 3 files do not exist, such as gone.png" in caplog.text
    assert (
        "tags of the photographs are not in the vocabulary and are dropped, such as 'cat'"
        in caplog.text
    )
    with (tmp_path / "run" / "metrics.csv").open() as file:
        row = [row for row in csv.DictReader(file) if row["val/loss"]][-1]
    assert 0 < float(row["val/loss"]) != float(row["val/loss_other_context"]) > 0
    assert main(["validate", "--config", str(config), "--ckpt_path", "last"]) == 0
    assert (
        main(["fit", "--config", str(config), "--ckpt_path", "last", "--trainer.max_steps", "4"])
        == 0
    )
    assert Upscaler.from_pretrained(last(tmp_path)).denoiser.config.vocabulary == ("boat", "sea")


def test_another_vocabulary_than_the_checkpoints_is_one_line(tmp_path, experiment, capsys):
    config = experiment("guidance: tags", f"  vocabulary: {tmp_path / 'photos' / 'tags.jsonl'}")
    assert main(["fit", "--config", str(config)]) == 0
    (tmp_path / "photos" / "tags.jsonl").write_text('{"file": "0.png", "tags": ["sea", "dog"]}\n')
    capsys.readouterr()
    for arguments in (["fit", "--trainer.max_steps", "4"], ["validate"]):
        assert (
            main([arguments[0], "--config", str(config), "--ckpt_path", "last", *arguments[1:]])
            == 2
        )
        told = capsys.readouterr().err
        assert (
            "the checkpoint was trained with another vocabulary (4 tags, the model has 2; "
            "'boat' is only in the checkpoint)" in told
        )


def test_text_is_embedded_before_training_and_only_read_in_it(tmp_path, experiment, monkeypatch):
    save_text_encoder(tmp_path / "t5", "t5")
    config = experiment(f"guidance: text, guidance_encoder: {tmp_path / 't5'}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    embedded = []
    from lsr.guidance.text_encoder import FrozenText

    embed = FrozenText._embed
    monkeypatch.setattr(
        FrozenText, "_embed", lambda self, texts: embedded.append(list(texts)) or embed(self, texts)
    )
    assert main(["fit", "--config", str(config)]) == 0
    assert embedded == [["cat", "sea, boat"]], "once, every text once"
    assert main(["validate", "--config", str(config), "--ckpt_path", "last"]) == 0
    assert len(embedded) == 1
    state = torch.load(last(tmp_path), weights_only=True)["state_dict"]
    assert all(name.startswith(("denoiser.stem.", "denoiser.net.")) for name in state), (
        "the encoder does not travel"
    )


def test_captions_come_from_a_list_of_their_own(tmp_path, photos, experiment):
    lines = [{"file": f"{i}.png", "tags": f"A boat, on the sea {i}."} for i in range(3)]
    (photos / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = experiment("guidance: words", f"  vocabulary: {photos / 'captions.jsonl'}")
    assert (
        main(["fit", "--config", str(config), "--data.init_args.tags_file", "captions.jsonl"]) == 0
    )
    vocabulary = Upscaler.from_pretrained(last(tmp_path)).denoiser.config.vocabulary
    assert vocabulary == ("0", "1", "2", "a", "boat", "on", "sea", "the")


def test_weights_that_are_missing_are_told_before_training(experiment, capsys):
    for guidance, name in (("text", "google/gemma-2-2b-it"), ("visual", "facebook/dinov2-small")):
        config = experiment(f"guidance: {guidance}, guidance_encoder: {name}", name=guidance)
        assert main(["fit", "--config", str(config)]) == 2
        assert f"fetch it with `hf download {name}`" in capsys.readouterr().err
