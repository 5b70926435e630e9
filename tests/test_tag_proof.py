"""The textures, the recogniser and the report of `make tag-proof`."""

import importlib
import json
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.processes import ROOT
from support.tiny import TINY

from lsr.models.checkpoint import MODEL_CONFIG, model_config
from lsr.models.denoiser import Denoiser


@pytest.fixture(scope="module")
def proof():
    """Return the three scripts, which import each other by name."""
    folder = str(ROOT / "experiments" / "guidance_proof")
    sys.path.insert(0, folder)
    names = ("textures", "recognition", "report")
    yield [importlib.import_module(name) for name in names]
    sys.path.remove(folder)
    for name in names:
        del sys.modules[name]


@pytest.fixture(scope="module")
def folder(proof, tmp_path_factory):
    out = tmp_path_factory.mktemp("proof") / "textures"
    assert proof[0].main(out) == 0
    return out


def listed(folder, name):
    lines = (folder / f"{name}.jsonl").read_text().splitlines()
    return {entry["file"]: entry["tags"][0] for entry in map(json.loads, lines)}


@pytest.mark.parametrize("split", ["train", "val"])
def test_shuffled_tags_say_nothing_and_captions_hold_the_tag(proof, folder, split):
    tags, shuffled, captions = (
        listed(folder / split, name) for name in ("tags", "shuffled", "captions")
    )
    assert sorted(tags) == sorted(path.name for path in (folder / split).glob("*.png"))
    together = Counter((tags[name], shuffled[name]) for name in tags)
    assert len(together) == 25 and max(together.values()) - min(together.values()) <= 1
    for name, kind in tags.items():
        words = captions[name].split()
        assert len(words) == 11 and set(words) & set(proof[0].KINDS) == {kind}
    in_order = [tags[name] for name in sorted(tags)]
    assert all(one != other for one, other in zip(in_order, in_order[1:], strict=False))


def test_brightness_and_contrast_do_not_tell_the_kind(folder):
    by_kind = {}
    for path in (folder / "val").glob("*.png"):
        kind = path.stem.partition("-")[2]
        by_kind.setdefault(kind, []).append(np.asarray(Image.open(path), dtype=float))
    for crops in by_kind.values():
        assert np.mean(crops) == pytest.approx(128, abs=4)
        assert 30 < np.std(crops) < 55


def crops(folder, split):
    paths = sorted((folder / split).glob("*.png"))
    grey = torch.stack([torch.tensor(np.asarray(Image.open(path)) / 127.5 - 1) for path in paths])
    return grey[:, None], [path.stem.partition("-")[2] for path in paths]


def test_the_kind_of_a_crop_is_recognised_and_that_of_noise_is_not(proof, folder):
    report = proof[2]
    judge = report.recogniser(*crops(folder, "train"))
    pictures, kinds = crops(folder, "test")
    assert np.mean(report._hits(judge, pictures, kinds)) > 0.8
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    assert np.mean(report._hits(judge, noise, kinds)) == pytest.approx(0.2, abs=0.1)


@pytest.fixture
def runs(proof, folder, tmp_path, monkeypatch):
    """Runs of random models, whose losses say nothing, in a folder where the experiments run."""
    textures, _, report = proof
    out = tmp_path / "runs" / "guidance_proof"
    out.mkdir(parents=True)
    (out / "textures").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "STEPS", 1)
    for arm in report.ARMS:
        kind = {"caption": "words", "none": "none"}.get(arm, "tags")
        config = replace(
            TINY,
            guidance=kind,
            vocabulary=() if kind == "none" else tuple(textures.KINDS),
            context_dim=0 if kind == "none" else 12,
        )
        write_run(out / arm / "seed1", Denoiser(config))
    return out


def write_run(run, model):
    torch.nn.init.normal_(model.net.out.weight, generator=torch.Generator().manual_seed(0))
    (run / "checkpoints").mkdir(parents=True)
    state = {f"denoiser.{name}": weight for name, weight in model.state_dict().items()}
    torch.save(
        {"state_dict": state, MODEL_CONFIG: model_config(model, 3.0)},
        run / "checkpoints" / "last.ckpt",
    )
    (run / "metrics.csv").write_text("step,val/loss,val/loss_other_context\n50,0.5,0.75\n")


def test_the_report_judges_every_run(proof, runs, capsys):
    assert proof[2].main(runs) == 0
    written = (runs / "report.md").read_text()
    assert written == capsys.readouterr().out
    assert "| 50 | 0.5000 | 0.5000 | 0.2500 | 0.2500 |" in written
    assert "| LR image, by a judge of LR images, as its own kind |" in written
    for name in ("textures.png", "learning.png"):
        assert Image.open(runs / name).width > 300


def test_a_missing_run_is_named_before_the_work(proof, tmp_path):
    with pytest.raises(ValueError, match=r"tags/seed1.*: train all kinds first \(make tag-proof\)"):
        proof[2].main(tmp_path)
