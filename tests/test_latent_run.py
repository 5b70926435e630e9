"""A run in the latents of an autoencoder: tiny and random, in the file format of diffusers."""

import numpy as np
import pytest
import torch
import yaml
from test_end_to_end import ROOT

from lsr.checkpoint import initialise, load_denoiser
from lsr.cli import main
from lsr.denoiser import Denoiser, DenoiserConfig
from lsr.encoders.deep_compression import DeepCompression
from lsr.images import Photograph, write_png
from lsr.sampling import super_resolve
from lsr.tiling import TiledSampler, noise_rows


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    """A folder with an f8c4 autoencoder."""
    from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC

    torch.manual_seed(0)
    model = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=8,
        encoder_block_types=("ResBlock",) * 3 + ("EfficientViTBlock",),
        decoder_block_types=("ResBlock",) * 3 + ("EfficientViTBlock",),
        encoder_block_out_channels=(8, 8, 16, 16),
        decoder_block_out_channels=(8, 8, 16, 16),
        encoder_layers_per_block=(1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        encoder_qkv_multiscales=((), (), (), (5,)),
        decoder_qkv_multiscales=((), (), (), (5,)),
        scaling_factor=0.41407,
    )
    folder = tmp_path_factory.mktemp("autoencoder")
    model.save_pretrained(folder)
    return folder


def test_latents_are_scaled_and_go_back_through_the_decoder(autoencoder, generator):
    space = DeepCompression(str(autoencoder), channels=4, factor=8)
    image = torch.rand(1, 3, 32, 48, generator=generator) * 2 - 1
    latent = space.encode(image)
    reference = space._autoencoder
    assert latent.shape == (1, 4, 4, 6) and not latent.requires_grad
    assert torch.equal(latent, reference.encode(image).latent * 0.41407)
    assert torch.equal(space.decode(latent), reference.decode(latent / 0.41407).sample)


def test_large_latents_are_decoded_in_tiles(autoencoder, generator):
    latent = torch.randn(1, 4, 12, 16, generator=generator)
    whole = DeepCompression(str(autoencoder), 4, 8, tile=4096).decode(latent)
    tiles = DeepCompression(str(autoencoder), 4, 8, tile=64).decode(latent)
    assert whole.shape == tiles.shape == (1, 3, 96, 128)
    assert not torch.equal(whole, tiles) and (whole - tiles).abs().mean() < whole.std()


@pytest.mark.parametrize("residual_std", [0.0, 0.5])
def test_upscaling_in_latents_is_what_the_sampler_gives_and_can_be_cut_into_tiles(autoencoder, generator, residual_std):
    latents = {"autoencoder": str(autoencoder), "latent_channels": 4, "latent_factor": 8, "residual_std": residual_std}
    denoiser = Denoiser(DenoiserConfig(**latents, width=32, depth=1, head_dim=16, stem_width=8)).eval()
    torch.nn.init.normal_(denoiser.net.out.weight, std=0.1, generator=generator)
    lr = torch.rand(70, 90, 3, generator=generator)
    batch = lr.permute(2, 0, 1)[None] * 2 - 1
    reference = super_resolve(denoiser, batch, lambda shape: torch.cat(list(noise_rows(0, *shape)), 1)[None], 2, 3.0)
    whole, tiles = (torch.cat(list(TiledSampler(denoiser, lr.numpy(), tile, 2, 3.0, 0, torch.device("cpu")).rows()), 1) for tile in (0, 32))
    torch.testing.assert_close(whole * 2 - 1, reference[0], rtol=1e-3, atol=1e-3)
    assert tiles.shape == whole.shape == (3, 280, 360) and (tiles - whole).abs().mean() < 0.5 * whole.std()


@pytest.mark.parametrize(("source", "message"), [("nowhere/at-all", "hf download nowhere/at-all"), (None, "is f8c4, not f32c32")])
def test_a_missing_or_unfit_autoencoder_is_one_clear_error(autoencoder, source, message):
    with pytest.raises(ValueError, match=message):
        DeepCompression(source or str(autoencoder)).prepare()


@pytest.fixture
def command(autoencoder, tmp_path, generator):
    """`lsr fit` of the full-size experiment, with little of everything."""
    rng = np.random.default_rng(0)
    for i in range(2):
        pixels = np.kron(rng.random((6, 8, 3)), np.ones((12, 12, 1))).astype(np.float32)
        write_png(tmp_path / "photographs" / f"{i}.png", Photograph(pixels))
    config = yaml.safe_load((ROOT / "experiments" / "linearsr" / "stage1.yaml").read_text())
    config["model"]["denoiser"] |= {"autoencoder": str(autoencoder), "latent_channels": 4, "latent_factor": 8}
    config["model"]["denoiser"] |= {"width": 64, "depth": 1, "cross_heads": 2, "stem_width": 8, "context_dim": 16}
    config["model"] |= {"init_from": None, "val_metrics": ["psnr_y"], "num_inference_steps": 2}
    photographs = {split: [str(tmp_path / "photographs")] for split in ("train", "val", "test")}
    config["data"]["init_args"] |= photographs | {"crop_size": 64, "val_crop_size": 64, "batch_size": 2, "num_workers": 0}
    config["trainer"] |= {"default_root_dir": str(tmp_path / "run"), "max_steps": 5, "val_check_interval": 5, "log_every_n_steps": 1}
    config["trainer"] |= {"strategy": "auto", "accelerator": "cpu"}
    knee = next(callback for callback in config["trainer"]["callbacks"] if "Knee" in callback["class_path"])
    knee["init_args"]["metrics"] = {"val/psnr_y": "max"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return ["fit", "--config", str(tmp_path / "config.yaml")]


def test_the_full_size_experiment_trains_validates_and_saves_without_the_autoencoder_in_its_checkpoint(command, tmp_path, autoencoder):
    assert main(command) == 0
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 5
    for key in ("state_dict", "ema_state_dict"):
        assert all(name.startswith(("denoiser.net.", "denoiser.stem.")) for name in checkpoint[key])
    denoiser, _ = load_denoiser(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert denoiser.config.autoencoder == str(autoencoder)
    fresh = Denoiser(denoiser.config)
    initialise(fresh, tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert all(torch.equal(weight, denoiser.state_dict()[name]) for name, weight in fresh.state_dict().items())
    assert main([*command, "--model.init_from", str(tmp_path / "run" / "checkpoints" / "last.ckpt"), "--model.denoiser.width", "32"]) == 2


def test_a_run_without_its_autoencoder_ends_before_it_begins(command, tmp_path, capsys):
    assert main([*command, "--model.denoiser.autoencoder", str(tmp_path / "gone")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("lsr fit: the autoencoder") and "cannot be loaded" in error
