"""Means of scores over the images of a validation, of which single images may have none."""

import types

import pytest
import torch

from lsr.training.scores import Scores


class NoLoss(torch.nn.Module):
    names = ()

    def forward(self, batch, draw_noise, context):
        return {}


@pytest.fixture
def scores(niqe_parameters):
    found = Scores(("psnr_y", "niqe"), NoLoss(), 4, str(niqe_parameters))
    found.prepare(types.SimpleNamespace(), "validate")
    return found


def means(scores, sr, hr):
    batch = {"hr": hr, "lr": torch.zeros(len(sr), 3, 24, 36)}
    for name, values in scores(batch, sr, "val", None).items():
        scores.mean("val", name, values)
    return {name: scores.means[f"val_{name}"].compute() for name in scores.metrics}


@pytest.fixture
def pair(held_out_photographs, to_tensor):
    """SR and HR images (2, 3, 96, 144)."""
    hr = torch.cat([to_tensor(image[:96, :144]) for image in held_out_photographs[:2]])
    return hr + 0.1 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(0)), hr


def test_one_picture_with_nan_makes_the_means_nan(scores, pair):
    sr, hr = pair
    sr[0, 1, 5, 7] = torch.nan
    assert all(mean.isnan() for mean in means(scores, sr, hr).values())


def test_a_picture_without_texture_is_left_out_of_the_mean_of_niqe_alone(scores, pair):
    sr, hr = pair
    sr[0] = 0
    found = means(scores, sr, hr)
    only = scores({"hr": hr[1:], "lr": torch.zeros(1, 3, 24, 36)}, sr[1:], "val", None)
    assert found["niqe"] == only["niqe"].float()
    assert found["psnr_y"].isfinite()
