"""A run in the latents of an autoencoder: tiny and random, in the file format of diffusers."""

import shutil
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from support.forked import in_ranks
from support.knee_folder import publish_knee, random_denoiser
from support.small_latent_experiment import small_experiment, write_photographs
from support.tiny_autoencoder import save_autoencoder

from lsr.cli import main
from lsr.inference.cells import Band, CellGrid
from lsr.inference.config import SamplingConfig
from lsr.inference.memory import MemoryPlan
from lsr.inference.noise import NoiseRows
from lsr.inference.picture_sampler import PictureSampler
from lsr.inference.sampling import super_resolve
from lsr.models.autoencoder_dc import DeepCompression
from lsr.models.checkpoint import load_denoiser
from lsr.models.denoiser import Denoiser, DenoiserConfig
from lsr.models.initialisation import initialise
from lsr.models.mixture import ExpertMixture


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    """A folder with an f8c4 autoencoder."""
    return save_autoencoder(tmp_path_factory.mktemp("autoencoder"))


def test_latents_are_scaled_and_go_back_through_the_decoder(autoencoder, generator):
    space = DeepCompression(str(autoencoder), channels=4, factor=8)
    image = torch.rand(1, 3, 32, 48, generator=generator) * 2 - 1
    latent = space.encode(image)
    reference = space._autoencoder
    assert latent.shape == (1, 4, 4, 6) and not latent.requires_grad
    assert torch.equal(latent, reference.encode(image).latent * 0.41407)
    assert torch.equal(space.decode(latent), reference.decode(latent / 0.41407).sample)


@pytest.mark.parametrize("residual_std", [0.0, 0.5])
def test_upscaling_in_latents_is_what_the_sampler_gives(
    autoencoder, generator, residual_std, tmp_path
):
    latents = {
        "autoencoder": str(autoencoder),
        "latent_channels": 4,
        "latent_factor": 8,
        "residual_std": residual_std,
    }
    denoiser = Denoiser(
        DenoiserConfig(**latents, width=32, depth=1, head_dim=16, stem_width=8)
    ).eval()
    torch.nn.init.normal_(denoiser.net.out.weight, std=0.1, generator=generator)
    lr = torch.rand(70, 90, 3, generator=generator)
    batch = lr.permute(2, 0, 1)[None] * 2 - 1
    sampling = SamplingConfig(num_inference_steps=2)
    grid = CellGrid(35, 45, cell_size=(8, 12))
    noise = NoiseRows(0, (45, 4), lambda function, items: [*map(function, items)])
    reference = super_resolve(
        denoiser, batch, lambda _: noise.read(Band(0, 35)).permute(2, 0, 1)[None], 2, 3.0
    )
    sampler = PictureSampler(
        denoiser=denoiser,
        lr=lr.numpy(),
        shift=3.0,
        sampling=sampling,
        plan=MemoryPlan(grid, in_file=False, sweeps=4),
        device=torch.device("cpu"),
    )
    bands = torch.cat(list(sampler.rows()), 1)
    assert bands.shape == (3, 280, 360)
    torch.testing.assert_close(bands * 2 - 1, reference[0], rtol=1e-3, atol=1e-3)

    def part(processes):
        own = replace(sampler.plan, grid=grid.divided(processes.rank, processes.size))
        return list(replace(sampler, plan=own, processes=processes).rows())

    first, second = in_ranks(2, part, tmp_path)
    assert torch.equal(torch.cat(first, 1), bands) and second == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere/at-all", "hf download nowhere/at-all"),
        ("/nowhere", "there is no such folder"),
        ("a/b/c", "there is no such folder"),
        (".", r"fetch it again \(.* no file named config.json"),
    ],
)
def test_a_missing_autoencoder_is_one_clear_error(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        DeepCompression(source).prepare()


def test_an_autoencoder_of_another_shape_is_refused(autoencoder):
    with pytest.raises(
        ValueError,
        match="is f8c4, not f32c32: set model.denoiser.latent_factor to 8, latent_channels to 4",
    ):
        DeepCompression(str(autoencoder)).prepare()


def truncate(folder):
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def leave_a_weight_out(folder):
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    del weights["decoder.conv_in.bias"]
    save_file(weights, folder / "diffusion_pytorch_model.safetensors")


def pickle_the_weights(folder):
    torch.save(
        load_file(folder / "diffusion_pytorch_model.safetensors"),
        folder / "diffusion_pytorch_model.bin",
    )
    (folder / "diffusion_pytorch_model.safetensors").unlink()


def break_the_json(folder):
    (folder / "config.json").write_text("{")


def move_into_a_pipeline(folder):
    shutil.copytree(folder, folder.parent / "vae")
    (folder.parent / "vae").rename(folder / "vae")
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, r"fetch it again \(Unable to load weights"),
        (leave_a_weight_out, "lacks the weight decoder.conv_in.bias and 0 more"),
        (pickle_the_weights, "no file named diffusion_pytorch_model.safetensors"),
        (break_the_json, "not a valid JSON"),
        (move_into_a_pipeline, "name .*/vae instead"),
    ],
)
def test_a_damaged_autoencoder_is_one_clear_error(autoencoder, tmp_path, damage, message):
    folder = shutil.copytree(autoencoder, tmp_path / "copy")
    damage(folder)
    with pytest.raises(ValueError, match=message):
        DeepCompression(str(folder), 4, 8).prepare()


def test_compiled_halves_compute_the_same_under_the_same_names(autoencoder, generator):
    image = torch.rand(1, 3, 32, 48, generator=generator) * 2 - 1
    plain, compiled = (
        DeepCompression(str(autoencoder), 4, 8),
        DeepCompression(str(autoencoder), 4, 8),
    )
    compiled.prepare(compile=True)
    with torch.compiler.set_stance("force_eager"):
        latent = compiled.encode(image)
        assert torch.equal(latent, plain.encode(image)) and torch.equal(
            compiled.decode(latent), plain.decode(latent)
        )
    halves = compiled._autoencoder.encoder, compiled._autoencoder.decoder
    assert (
        all(half._compiled_call_impl is not None for half in halves)
        and compiled.identity() == plain.identity()
    )


def test_training_in_half_precision_leaves_the_autoencoder_its_own(autoencoder, generator):
    space = DeepCompression(str(autoencoder), 4, 8)
    image = torch.rand(1, 3, 32, 48, generator=generator) * 2 - 1
    latent = space.encode(image)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(space.encode(image), latent)
        assert torch.equal(
            space.decode(latent), DeepCompression(str(autoencoder), 4, 8).decode(latent)
        )


def run_of(config, folder, steps):
    """The arguments that run an experiment with a validation at its end."""
    batches = steps * config["trainer"]["accumulate_grad_batches"]
    config["trainer"] |= {
        "default_root_dir": str(folder / "run"),
        "max_steps": steps,
        "val_check_interval": batches,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return ["fit", "--config", str(folder / "config.yaml")]


@pytest.fixture
def command(autoencoder, tmp_path):
    """`lsr fit` of stage 1 at the paper's size, with little of everything."""
    config = small_experiment(
        "stage1", autoencoder, write_photographs(tmp_path / "photographs", 2), batch_size=2
    )
    config["model"]["init_from"] = None
    return run_of(config, tmp_path, steps=5)


def test_the_full_size_experiment_trains_and_its_checkpoint_has_no_autoencoder(
    command, tmp_path, autoencoder
):
    assert main(command) == 0
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 5
    for key in ("state_dict", "ema_state_dict"):
        assert all(name.startswith(("denoiser.net.", "denoiser.stem.")) for name in checkpoint[key])
    denoiser, _ = load_denoiser(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert denoiser.config.autoencoder == str(autoencoder)
    fresh = Denoiser(denoiser.config)
    initialise(fresh, tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert all(
        torch.equal(weight, denoiser.state_dict()[name])
        for name, weight in fresh.state_dict().items()
    )
    gone = ["--model.init_from", str(tmp_path / "gone.safetensors"), "--ckpt_path", "last"]
    assert main([*command, *gone, "--trainer.max_steps", "6"]) == 0, (
        "a run that is continued does not look at it"
    )
    assert main(["validate", *command[1:], *gone]) == 0
    command += ["--trainer.default_root_dir", str(tmp_path / "new")]
    assert main([*command, *gone]) == 2
    assert (
        main(
            [
                *command,
                "--model.init_from",
                str(tmp_path / "run" / "checkpoints" / "last.ckpt"),
                "--model.denoiser.width",
                "32",
            ]
        )
        == 2
    )


def test_a_run_without_its_autoencoder_ends_before_it_begins(command, tmp_path, capsys):
    assert main([*command, "--model.denoiser.autoencoder", str(tmp_path / "gone")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("lsr fit: the autoencoder") and "cannot be loaded" in error


def test_stage_2_grows_its_experts_from_the_knee_and_trains_each(autoencoder, tmp_path):
    config = small_experiment("stage2", autoencoder, write_photographs(tmp_path / "photographs", 2))
    denoiser = DenoiserConfig(**config["model"]["denoiser"])
    config["model"]["experts"]["seed"] = str(
        publish_knee(tmp_path / "stage1", replace(denoiser, autoencoder="elsewhere"))
    )
    assert main(run_of(config, tmp_path, steps=5)) == 0
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    assert checkpoint["global_step"] == 5
    mixture, _ = load_denoiser(last)
    assert isinstance(mixture, ExpertMixture) and len(mixture.experts) == 4
    assert all(".net." in name or ".stem." in name for name in checkpoint["state_dict"])
    knee = random_denoiser(denoiser).state_dict()
    for i in range(4):
        weights = {name: checkpoint["state_dict"][f"denoiser.experts.{i}.{name}"] for name in knee}
        assert any(not torch.equal(weight, knee[name]) for name, weight in weights.items()), i
        torch.testing.assert_close(weights, knee, atol=1e-3, rtol=0)  # a step or two of a warm-up
    metrics = (tmp_path / "run" / "metrics.csv").read_text()
    assert all(f"val/loss_expert_{i}" in metrics for i in range(4)) and "val/psnr_y" in metrics
