"""Find models by file, folder and name, and write them with `lsr export`."""

from dataclasses import asdict

import pytest
import torch

from lsr.cli import main
from lsr.inference.upscaler import Upscaler
from lsr.models.checkpoint import (
    EMA_STATE,
    MODEL_CONFIG,
    load_denoiser,
    model_config,
    read_model,
    save_denoiser,
)
from lsr.models.mixture import ExpertMixture
from lsr.models.pretrained import EMBEDDED, find_model


@pytest.fixture
def run(denoiser, tmp_path):
    """Return the folder of a run whose averaged weights are twice the trained ones."""
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    state = {f"denoiser.{name}": weight for name, weight in denoiser.state_dict().items()}
    checkpoint = {
        "state_dict": state,
        EMA_STATE: {name: 2 * weight for name, weight in state.items()},
    }
    torch.save(checkpoint | {MODEL_CONFIG: asdict(denoiser.config) | {"shift": 3.0}}, path)
    return tmp_path / "run"


def test_a_folder_stands_for_the_one_model_in_it(tmp_path, run):
    assert find_model(run) == run / "checkpoints" / "last.ckpt"
    (tmp_path / "seed.safetensors").touch()
    assert find_model(tmp_path) == tmp_path / "seed.safetensors"
    (tmp_path / "other.safetensors").touch()
    with pytest.raises(ValueError, match=r"not several \(other.safetensors, seed.safetensors\)"):
        find_model(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert find_model(tmp_path) == tmp_path / "model.safetensors"


def test_the_models_in_this_package_have_names_unless_a_file_has_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_model("perceptual") == EMBEDDED
    faithful = find_model("faithful")
    assert faithful.is_file() and faithful.parent == EMBEDDED.parent and faithful != EMBEDDED
    (tmp_path / "faithful").touch()
    assert find_model("faithful").absolute() == tmp_path / "faithful"


def test_a_name_that_cannot_be_had_says_what_to_fetch(tmp_path):
    with pytest.raises(
        ValueError, match="`hf download someone/linearsr model.safetensors`"
    ) as caught:
        Upscaler.from_pretrained("someone/linearsr")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="no such model file"):
        Upscaler.from_pretrained(tmp_path / "absent.safetensors")


def test_a_name_is_fetched_from_the_hub(monkeypatch, run, tmp_path):
    """A model is read from the cache of the hub; the test builds such a cache."""
    import huggingface_hub.constants

    assert main(["export", str(run), "--out", str(tmp_path / "model.safetensors")]) == 0
    repository = tmp_path / "cache" / "models--someone--linearsr"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    (snapshot / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes())
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert Upscaler.from_pretrained("someone/linearsr").scale == 4


def test_raw_weights_are_asked_of_a_checkpoint_alone(denoiser, tmp_path, capsys):
    save_denoiser(
        tmp_path / "model.safetensors",
        denoiser.state_dict(),
        asdict(denoiser.config) | {"shift": 3.0},
    )
    assert (
        main(
            [
                "export",
                str(tmp_path / "model.safetensors"),
                "--raw",
                "--out",
                str(tmp_path / "raw.safetensors"),
            ]
        )
        == 2
    )
    assert "leave out --raw, which is for checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "factor"), [([], 2), (["--raw"], 1)])
def test_export_takes_the_average_unless_told_otherwise(run, denoiser, tmp_path, options, factor):
    out = tmp_path / "exported" / "model.safetensors"
    assert main(["export", str(run), "--out", str(out), *options]) == 0
    weights, config, shift, boundaries, *_ = read_model(out)
    assert (config, shift, boundaries) == (denoiser.config, 3.0, None)
    assert all(
        torch.equal(weights[name], factor * weight)
        for name, weight in denoiser.state_dict().items()
    )


def test_a_model_of_one_step_says_so_after_its_export_and_refuses_more(
    denoiser, tmp_path, photo, capsys
):
    denoiser.one_step = True
    path, exported = tmp_path / "student.safetensors", tmp_path / "exported.safetensors"
    save_denoiser(path, denoiser.state_dict(), model_config(denoiser, 3.0))
    assert main(["export", str(path), "--out", str(exported)]) == 0
    for each in (path, exported):
        assert Upscaler.from_pretrained(each).upscale(photo).shape == (384, 512, 3)
        with pytest.raises(ValueError, match="makes a picture in one step, not in 4"):
            Upscaler.from_pretrained(each, num_inference_steps=4)
    (tmp_path / "photos").mkdir()
    options = ["--data", str(tmp_path / "photos"), "--out", str(tmp_path / "x"), "--steps", "4"]
    assert main(["eval", "--model", str(path), *options]) == 2
    assert "makes a picture in one step, not in 4" in capsys.readouterr().err


def test_export_in_half_precision_halves_the_file_and_still_loads(run, denoiser, tmp_path):
    for dtype in ("float32", "float16"):
        assert (
            main(
                [
                    "export",
                    str(run),
                    "--out",
                    str(tmp_path / f"{dtype}.safetensors"),
                    "--dtype",
                    dtype,
                ]
            )
            == 0
        )
    sizes = [(tmp_path / f"{dtype}.safetensors").stat().st_size for dtype in ("float32", "float16")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded, _ = load_denoiser(tmp_path / "float16.safetensors")
    for name, weight in denoiser.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], 2 * weight, rtol=1e-3, atol=1e-6)


def test_export_of_a_mixture_keeps_its_boundaries(denoiser, tmp_path):
    mixture = ExpertMixture(denoiser.config, (0.25, 0.5))
    config = asdict(denoiser.config) | {"shift": 3.0, "boundaries": [0.25, 0.5]}
    save_denoiser(tmp_path / "a.safetensors", mixture.state_dict(), config)
    assert (
        main(["export", str(tmp_path / "a.safetensors"), "--out", str(tmp_path / "b.safetensors")])
        == 0
    )
    assert read_model(tmp_path / "b.safetensors").boundaries == [0.25, 0.5]


def test_export_refuses_what_would_be_no_use(run, denoiser, tmp_path, capsys):
    assert main(["export", str(run), "--out", str(tmp_path / "model.ckpt")]) == 2
    assert "must end in .safetensors" in capsys.readouterr().err
    state = denoiser.state_dict() | {"net.embed.bias": torch.full((32,), 1e6)}
    save_denoiser(tmp_path / "huge.safetensors", state, asdict(denoiser.config) | {"shift": 3.0})
    command = [
        "export",
        str(tmp_path / "huge.safetensors"),
        "--out",
        str(tmp_path / "half.safetensors"),
        "--dtype",
        "float16",
    ]
    assert main(command) == 2 and not (tmp_path / "half.safetensors").exists()
    assert "not finite in float16" in capsys.readouterr().err
    assert (
        main(
            [
                "export",
                str(tmp_path / "huge.safetensors"),
                "--out",
                str(tmp_path / "huge.safetensors"),
            ]
        )
        == 2
    )


def test_a_name_in_a_folder_that_is_here_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match=r"^runs/tinny: no such model file; check the path$"):
        Upscaler.from_pretrained("runs/tinny")
