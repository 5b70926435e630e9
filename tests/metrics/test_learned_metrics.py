"""LPIPS and FID, with random weights in the real file formats."""

import numpy as np
import pyiqa.archs.fid_arch
import pyiqa.archs.inception
import pytest
import torch
import torchvision

from lsr.metrics.cards import CARDS
from lsr.metrics.fid import FrechetInceptionDistance
from lsr.metrics.quality import Quality

LPIPS_CHANNELS = (64, 192, 384, 256, 256)


def save(folder, name, state):
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / name)


def random_like(state, generator):
    """Return random tensors of the same shapes.

    The largest belong to layers that no metric uses; they are zeros with the memory of one number.
    """
    return {
        name: torch.zeros(1).expand(like.shape)
        if like.numel() > 2**21
        else 0.05 * torch.randn(like.shape, generator=generator)
        for name, like in state.items()
    }


@pytest.fixture
def lpips_weights(tmp_path):
    """Make a folder with AlexNet and with the linear layers of LPIPS, multiplied by a factor."""
    generator = torch.Generator().manual_seed(0)
    backbone, layers = (file.name for file in CARDS["lpips"].weights)
    with torch.device("meta"):
        alexnet = torchvision.models.alexnet().state_dict()
    backbone_state = random_like(alexnet, generator)
    linear = {
        f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1, generator=generator)
        for i, c in enumerate(LPIPS_CHANNELS)
    }

    def make(factor):
        folder = tmp_path / str(factor)
        save(folder, backbone, backbone_state)
        save(folder, layers, {name: factor * weight for name, weight in linear.items()})
        return folder

    return make


def test_lpips_uses_the_files_in_the_folder_and_names_them(
    lpips_weights, generator, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    sr, hr = (2 * torch.rand(1, 3, 48, 64, generator=generator) - 1 for _ in range(2))
    once, twice = (Quality(("lpips",), weights=lpips_weights(factor)) for factor in (1, 2))
    assert once(sr, hr)["lpips"] > 0 and once(hr, hr)["lpips"] == 0
    assert twice(sr, hr)["lpips"].item() == pytest.approx(
        2 * once(sr, hr)["lpips"].item(), rel=1e-6
    )
    assert once.files["lpips"] == [tmp_path / "1" / file.name for file in CARDS["lpips"].weights]


def test_a_part_that_is_missing_is_named_with_its_place_in_the_folder(
    lpips_weights, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    folder = lpips_weights(1)
    backbone, layers = (file.name for file in CARDS["lpips"].weights)
    (folder / layers).unlink()
    with pytest.raises(
        ValueError, match=f"weights of lpips are missing .*{layers} to {folder / layers};"
    ) as refusal:
        Quality(("lpips",), weights=folder)
    assert backbone not in str(refusal.value)


@pytest.fixture
def inception_weights(tmp_path, monkeypatch):
    state = {}
    with monkeypatch.context() as patched:
        patched.setattr(
            pyiqa.archs.inception,
            "load_pretrained_network",
            lambda net, _: state.update(net.state_dict()),
        )
        pyiqa.archs.inception.fid_inception_v3()
    # With the initial weights of torchvision the activations vanish in the deep layers.
    save(
        tmp_path / "weights",
        CARDS["fid"].weights[0].name,
        {name: 2.2 * w if w.ndim == 4 else w for name, w in state.items()},
    )
    return tmp_path / "weights"


def test_fid_compares_the_two_sets_that_it_is_given(
    inception_weights, held_out_photographs, tmp_path, monkeypatch
):
    # The square root of a 2048 x 2048 matrix takes a minute. The squared distance of the means is
    # enough to distinguish sets.
    monkeypatch.setattr(
        pyiqa.archs.fid_arch,
        "frechet_distance",
        lambda mu1, _, mu2, __: float(np.sum((mu1 - mu2) ** 2)),
    )
    from PIL import Image

    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, photograph in zip(paths, held_out_photographs, strict=True):
        Image.fromarray(photograph[:96, :96]).save(path)
    distance = FrechetInceptionDistance(inception_weights)
    cpu = torch.device("cpu")
    assert distance(paths, paths[::-1], cpu) == pytest.approx(0, abs=1e-9), "a set has no order"
    assert distance(paths[:2], paths[1:], cpu) > 1e-3
    assert distance.files == [inception_weights / CARDS["fid"].weights[0].name]
