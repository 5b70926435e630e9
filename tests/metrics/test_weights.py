import subprocess
import sys

import pyiqa.archs.brisque_arch
import pyiqa.archs.clip_model
import pyiqa.archs.dists_arch
import pyiqa.archs.inception
import pyiqa.archs.lpips_arch
import pyiqa.archs.maniqa_arch
import pyiqa.archs.musiq_arch
import pyiqa.archs.niqe_arch
import pytest
import torchvision
from pyiqa.default_model_configs import DEFAULT_CONFIGS

from lsr.metrics.cards import CARDS
from lsr.metrics.quality import Quality
from lsr.metrics.weights import url

URLS = {
    "maniqa": [pyiqa.archs.maniqa_arch.default_model_urls["koniq"]],
    "maniqa-pipal": [pyiqa.archs.maniqa_arch.default_model_urls["pipal"]],
    "musiq": [pyiqa.archs.musiq_arch.default_model_urls["koniq10k"]],
    "clipiqa": [pyiqa.archs.clip_model._MODELS["RN50"]],
    "niqe": [pyiqa.archs.niqe_arch.default_model_urls["url"]],
    "ilniqe": [pyiqa.archs.niqe_arch.default_model_urls["ilniqe"]],
    "brisque": [pyiqa.archs.brisque_arch.default_model_urls["url"]],
    "lpips": [
        torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url,
        pyiqa.archs.lpips_arch.default_model_urls["0.1_alex"],
    ],
    "dists": [
        torchvision.models.VGG16_Weights.IMAGENET1K_V1.url,
        pyiqa.archs.dists_arch.default_model_urls["url"],
    ],
    "fid": [pyiqa.archs.inception.FID_WEIGHTS_URL],
}
"""Addresses from which pyiqa would download the weights of each metric."""


@pytest.mark.parametrize("name", CARDS)
def test_a_card_agrees_with_pyiqa(name):
    card = CARDS[name]
    config = DEFAULT_CONFIGS[card.pyiqa_name]
    assert card.full_reference == (config["metric_mode"] == "FR") or card.of_sets
    assert card.higher_is_better != config.get("lower_better", False)
    assert [url(file) for file in card.weights] == URLS.get(name, [])
    assert all(url(file).endswith("/" + file.name) for file in card.weights)


@pytest.fixture
def empty_home(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub"


@pytest.mark.parametrize("name", [name for name in URLS if name != "fid"])
def test_missing_weights_are_named_with_their_source_and_place(empty_home, name):
    with pytest.raises(ValueError) as refusal:
        Quality(("psnr_y", name))
    message = str(refusal.value)
    assert message.startswith(f"weights of {name} are missing (HF_HUB_OFFLINE")
    copies = ", ".join(
        f"{url(file)} to {empty_home / file.folder / file.name}" for file in CARDS[name].weights
    )
    assert f"copy {copies};" in message
    free = ", ".join(name for name, card in CARDS.items() if not card.weights)
    assert f"{free} need no weights" in message
    assert "\n" not in message


def test_one_message_names_all_missing_weights_and_only_those(empty_home):
    present = empty_home / "pyiqa" / CARDS["musiq"].weights[0].name
    present.parent.mkdir(parents=True)
    present.touch()
    with pytest.raises(
        ValueError, match="weights of maniqa, niqe are missing .*niqe with parameters of your own"
    ):
        Quality(("maniqa", "musiq", "niqe"))


def test_a_failed_download_leaves_no_files(empty_home, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # no server listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # An earlier test may have made the process's opener, which remembers the proxies of its time.
    monkeypatch.setattr("urllib.request._opener", None)
    with pytest.raises(ValueError, match="weights of musiq are missing .*Connection refused"):
        Quality(("musiq",))
    assert not [path for path in empty_home.rglob("*") if path.is_file()]


MUSIQ = """
import os, random, sys
from pathlib import Path

import numpy as np
import torch

from lsr.metrics.cards import CARDS
from lsr.metrics.quality import Quality

def states():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()

folder = Path(os.environ["TORCH_HOME"]) / "hub" / "pyiqa"
folder.mkdir(parents=True)
file = folder / CARDS["musiq"].weights[0].name
image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))

before = states()
Quality(("psnr_y",))
assert states() == before, "the import draws random numbers"

import pyiqa

reference = pyiqa.create_metric("musiq", device=torch.device("cpu"), pretrained=False)
torch.save(reference.net.state_dict(), file)
before = states()
quality = Quality(("musiq",))
with torch.autocast("cpu", dtype=torch.bfloat16):
    value = quality(image.bfloat16().float())["musiq"]
assert states() == before, "the metric draws random numbers"
assert torch.equal(value, quality(image.bfloat16())["musiq"]) and not value.requires_grad
expected = reference(((image.bfloat16().double() + 1) * 127.5).round().float() / 255).double()
assert torch.allclose(value, expected, rtol=1e-5), (value, expected)

class Stranger:
    def __reduce__(self):
        return os.mkdir, (os.environ["TORCH_HOME"] + "/executed",)

def refusal():
    try:
        Quality(("musiq",))
    except ValueError as error:
        assert str(file) in str(error) and "\\n" not in str(error), error
        return
    raise AssertionError("a bad file was taken")

torch.save({"state_dict": Stranger()}, file)
refusal()
assert not Path(os.environ["TORCH_HOME"], "executed").exists()
file.write_bytes(b"half a file")
refusal()
"""


def test_weights_are_loaded_safely_and_without_side_effects(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # pyiqa reads it when it is imported
    process = subprocess.run([sys.executable, "-c", MUSIQ], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout == ""
