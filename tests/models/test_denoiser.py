import pytest
import torch
import torch.nn.functional as F
from support.tiny import TINY

from lsr.flow.path import interpolate, velocity
from lsr.images.resampling import upsample_bicubic
from lsr.inference.sampling import super_resolve
from lsr.models.denoiser import Denoiser, DenoiserConfig
from lsr.models.latent_space import PixelSpace


def noise_of(shape):
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))


def test_pixel_space_is_exact_and_keeps_white_noise_white(generator):
    space, image = PixelSpace(8), torch.randn(2, 3, 16, 24, generator=generator)
    latent = space.encode(image)
    assert latent.shape == (2, space.channels, 2, 3)
    assert torch.equal(space.decode(latent), image)
    assert torch.equal(latent.flatten().sort().values, image.flatten().sort().values)


def test_loss_is_the_flow_matching_error_of_the_velocity(denoiser, generator):
    condition = denoiser.condition(torch.randn(4, 3, 4, 4, generator=generator))
    x_0 = denoiser.encode(torch.randn(4, 3, 16, 16, generator=generator), condition)
    noise, t = torch.randn(x_0.shape, generator=generator), torch.tensor([0.05, 0.2, 0.7, 1.0])
    v = denoiser(interpolate(x_0, noise, t), t, condition)
    expected = (v - velocity(x_0, noise)).square().mean((1, 2, 3))
    torch.testing.assert_close(denoiser.loss(x_0, noise, t, condition), expected)


def test_the_l1_term_is_on_the_data_that_the_velocity_points_to(denoiser, generator):
    condition = denoiser.condition(torch.rand(3, 3, 4, 4, generator=generator) * 2 - 1)
    x_0, noise = torch.randn(2, *condition.base.shape, generator=generator)
    t = torch.tensor([0.1, 0.6, 1.0])
    x_t = interpolate(x_0, noise, t)
    found = x_t - t.view(-1, 1, 1, 1) * denoiser(x_t, t, condition)
    plain, both = (denoiser.loss(x_0, noise, t, condition, weight) for weight in (0.0, 0.3))
    torch.testing.assert_close(
        both - plain, 0.3 * (found - x_0).abs().flatten(1).mean(1), rtol=1e-4, atol=1e-5
    )


def test_preconditioning_is_the_best_linear_estimate_plus_a_correction(denoiser, generator):
    """The velocity, followed back to t = 0, leads to (1 - t) / s^2 x_t + t / s F."""
    condition = denoiser.condition(torch.randn(3, 3, 4, 4, generator=generator))
    x_t, t = torch.randn(3, 192, 2, 2, generator=generator), torch.tensor([0.1, 0.6, 1.0])
    time = t[:, None, None, None]
    s = ((1 - time) ** 2 + time**2).sqrt()
    output = denoiser.net(torch.cat([x_t / s, condition.features(denoiser.stem)], 1), t)
    x_0 = x_t - time * denoiser(x_t, t, condition)
    torch.testing.assert_close(
        x_0, (1 - time) / s**2 * x_t + time / s * output, rtol=1e-4, atol=1e-4
    )


def test_untrained_preconditioning_is_a_wiener_filter(generator):
    """For data of unit variance any other factor than (1 - t) / s^2 makes the error larger."""
    model = Denoiser(TINY)
    condition = model.condition(torch.zeros(64, 3, 4, 4))
    x_0, noise = torch.randn(2, 64, 192, 2, 2, generator=generator)
    for time in (0.2, 0.5, 0.8):
        t = torch.full((64,), time)
        x_t = interpolate(x_0, noise, t)
        estimate = x_t - time * model(x_t, t, condition)
        errors = [F.mse_loss(factor * estimate, x_0) for factor in (0.8, 1.0, 1.2)]
        assert errors[1] < min(errors[0], errors[2])


def test_velocity_has_no_pole_at_the_data(denoiser, generator):
    condition = denoiser.condition(torch.randn(1, 3, 4, 4, generator=generator))
    x_t = torch.randn(1, 192, 2, 2, generator=generator)
    at, near = (denoiser(x_t, torch.tensor([t]), condition) for t in (0.0, 1e-7))
    assert at.isfinite().all()
    torch.testing.assert_close(at, near, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("residual_std", [0.0, 0.125])
def test_data_of_the_flow_decode_to_the_image(generator, residual_std):
    model = Denoiser(DenoiserConfig(**vars(TINY) | {"residual_std": residual_std}))
    hr = torch.rand(2, 3, 16, 24, generator=generator) * 2 - 1
    condition = model.condition(F.interpolate(hr, scale_factor=0.25))
    torch.testing.assert_close(model.decode(model.encode(hr, condition), condition), hr)


def test_an_untrained_model_is_bicubic(generator):
    model = Denoiser(TINY)
    lr = torch.rand(1, 3, 6, 4, generator=generator) - 0.5
    sr = super_resolve(model, lr, noise_of, 1, 3.0)
    torch.testing.assert_close(sr, upsample_bicubic(lr, 4), rtol=1e-4, atol=1e-4)


def test_bicubic_has_the_kernel_of_the_field(generator):
    """The cubic of Keys with a = -1/2 reproduces quadratic images; a = -3/4 does not."""
    x = torch.arange(16, dtype=torch.float32)
    lr = (x**2 / 256).expand(1, 3, 16, 16)
    fine = (torch.arange(64) + 0.5) / 4 - 0.5
    torch.testing.assert_close(
        upsample_bicubic(lr, 4)[0, 0, 30, 12:-12], (fine**2 / 256)[12:-12], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (8, 8)])
@pytest.mark.parametrize("steps", [1, 3])
def test_any_size_comes_back_exactly_scaled(denoiser, generator, size, steps):
    lr = torch.rand(1, 3, *size, generator=generator) * 2 - 1
    sr = super_resolve(denoiser, lr, noise_of, steps, 3.0)
    assert sr.shape == (1, 3, 4 * size[0], 4 * size[1])
    assert sr.isfinite().all() and sr.abs().max() <= 1


def test_padding_is_not_stretching(generator):
    """Padding does not shift the image: away from it an untrained model gives bicubic."""
    model = Denoiser(TINY)
    lr = torch.rand(1, 3, 5, 7, generator=generator) - 0.5
    torch.testing.assert_close(
        super_resolve(model, lr, noise_of, 1, 3.0)[..., :10, :18],
        upsample_bicubic(lr, 4)[..., :10, :18],
        rtol=1e-4,
        atol=1e-4,
    )


def test_a_model_learns(generator, photo):
    """A few training steps on one pair give a smaller error than bicubic upsampling."""
    model = Denoiser(TINY)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    hr = torch.from_numpy(photo[:32, :32]).permute(2, 0, 1)[None] / 127.5 - 1
    lr = F.interpolate(hr, scale_factor=0.25, mode="area")
    before = F.mse_loss(super_resolve(model, lr, noise_of, 1, 3.0), hr)
    for _ in range(100):
        t = torch.rand(8, generator=generator)
        condition = model.condition(lr.repeat(8, 1, 1, 1))
        x_0 = model.encode(hr.repeat(8, 1, 1, 1), condition)
        loss = model.loss(x_0, torch.randn(x_0.shape, generator=generator), t, condition).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = F.mse_loss(super_resolve(model, lr, noise_of, 1, 3.0), hr)
    assert after < 0.5 * before


def test_a_latent_finer_than_the_lr_image_is_refused():
    with pytest.raises(
        ValueError, match="without an autoencoder. must be a multiple of scale 4, not 2"
    ):
        Denoiser(DenoiserConfig(patch_size=2, scale=4))
