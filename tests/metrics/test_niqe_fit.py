import cv2
import numpy as np
import pytest
import scipy.io
import torch
from pyiqa.archs.niqe_arch import normalize_img_with_gauss

from lsr.metrics.niqe_fit import _normalize, fit_niqe
from lsr.metrics.quality import Quality


def middle(image, side=480):
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


@pytest.fixture(scope="module")
def squares(training_photographs):
    """Photographs of 480 x 480 pixels, 5 x 5 whole blocks."""
    return [middle(image) for image in training_photographs if image.shape == (512, 512, 3)]


def test_the_file_holds_a_gaussian(niqe_parameters):
    parameters = scipy.io.loadmat(niqe_parameters)
    mean, covariance = parameters["mu_prisparam"], parameters["cov_prisparam"]
    assert mean.shape == (1, 36)
    assert np.array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_the_normalisation_is_that_of_the_metric(squares):
    luma = torch.from_numpy(squares[0][..., 1].astype(float))[None, None]
    assert torch.allclose(
        _normalize(luma)[0], normalize_img_with_gauss(luma, padding="replicate"), atol=1e-3
    )


def test_blur_and_noise_are_worse_than_the_photograph(
    niqe_parameters, held_out_photographs, to_tensor
):
    quality = Quality(("niqe",), niqe_parameters)
    rng = np.random.default_rng(0)
    for photograph in held_out_photographs:
        noise = rng.normal(size=photograph.shape)
        clean, *blurred = (
            quality(to_tensor(cv2.GaussianBlur(photograph, (0, 0), sigma)))["niqe"]
            for sigma in (0.01, 1, 2.5)
        )
        noisy = [quality(to_tensor(photograph + sigma * noise))["niqe"] for sigma in (10, 25)]
        assert clean < blurred[0] < blurred[1]
        assert clean < noisy[0] < noisy[1]


def test_blurred_parts_of_a_photograph_do_not_count(squares, tmp_path):
    half_blurred = [
        np.concatenate([image, cv2.GaussianBlur(image, (0, 0), 4)], 1) for image in squares
    ]
    models = []
    for name, images in (("sharp", squares), ("half_blurred", half_blurred)):
        fit_niqe(images, tmp_path / name)
        models.append(scipy.io.loadmat(tmp_path / name, appendmat=False))
    spread = np.sqrt(np.diag(models[0]["cov_prisparam"]))
    shift = (models[0]["mu_prisparam"] - models[1]["mu_prisparam"]) / spread
    assert np.abs(shift).max() < 0.1


def test_the_model_does_not_depend_on_what_lies_outside_the_middle_of_a_large_photograph(
    squares, tmp_path
):
    large = cv2.copyMakeBorder(
        np.tile(middle(squares[0]), (2, 2, 1)), 96, 96, 96, 96, cv2.BORDER_CONSTANT
    )
    for name, first in (("large", large), ("middle", middle(large, 960))):
        fit_niqe([first, *squares[1:]], tmp_path / name)
    large_mean, middle_mean = (
        scipy.io.loadmat(tmp_path / name, appendmat=False)["mu_prisparam"]
        for name in ("large", "middle")
    )
    assert np.array_equal(large_mean, middle_mean)


def test_images_without_a_natural_sharp_block_are_passed_over(squares, tmp_path):
    flat = np.full((200, 200, 3), 130, np.uint8)
    stripes = flat.copy()
    stripes[::2] = 0
    useless = [squares[0][:95], flat, stripes]
    for name, images in (("with", useless + squares), ("without", squares)):
        fit_niqe(iter(images), tmp_path / name)
    assert np.array_equal(
        *(
            scipy.io.loadmat(tmp_path / name, appendmat=False)["mu_prisparam"]
            for name in ("with", "without")
        )
    )


@pytest.mark.parametrize("images", [0, 1])
def test_too_few_photographs_are_refused(squares, tmp_path, images):
    with pytest.raises(
        ValueError,
        match=rf"NIQE needs 72 sharp blocks .* and {images} photographs have \d+: give more",
    ):
        fit_niqe(squares[:images], tmp_path / "parameters.mat")
    assert not list(tmp_path.iterdir())


def test_the_same_photograph_again_and_again_is_refused(squares, tmp_path):
    with pytest.raises(ValueError, match=r"too similar to fit NIQE \(rank \d+ of 36\): give more"):
        fit_niqe([squares[3]] * 5, tmp_path / "parameters.mat")
