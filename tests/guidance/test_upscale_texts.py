"""`lsr upscale --tags` with a model that is guided by tags."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.published_ram import save_ram
from support.tiny import TINY

from lsr.cli import main
from lsr.inference.upscaler import Upscaler
from lsr.models.checkpoint import save_denoiser
from lsr.models.denoiser import Denoiser

TAGS = replace(TINY, guidance="tags", vocabulary=("boat", "castle", "cat", "pier", "sea"))


@pytest.fixture
def model(tmp_path):
    denoiser = Denoiser(TAGS)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    path = tmp_path / "model.safetensors"
    save_denoiser(path, denoiser.state_dict(), asdict(denoiser.config) | {"shift": 3.0})
    return path


@pytest.fixture
def photos(tmp_path, photo):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(photo[:40, :48]).save(folder / name)
    (folder / "tags.jsonl").write_text('{"file": "a.png", "tags": ["sea", "boat"]}\n')
    return folder


@pytest.fixture
def upscaled(model, photos, tmp_path):
    def run(*options, source=photos):
        out = (
            tmp_path
            / "_".join(["out", *(str(option).strip("-").replace("/", "") for option in options)])[
                -200:
            ]
        )
        assert (
            main(
                [
                    "upscale",
                    str(source),
                    "--model",
                    str(model),
                    "--out",
                    str(out),
                    *map(str, options),
                ]
            )
            == 0
        )
        return [np.asarray(Image.open(path)) for path in sorted(out.glob("*.png"))]

    return run


def test_tags_come_from_beside_the_photographs_by_default_or_from_the_command_line(
    upscaled, photos
):
    a, b = upscaled()
    none, _ = upscaled("--tags", "none")
    assert not np.array_equal(a, none) and np.array_equal(b, none), "b has no tags"
    listed, also = upscaled("--tags", "sea, boat")
    assert np.array_equal(listed, a) and np.array_equal(also, a)
    assert np.array_equal(upscaled("--steps", "1", source=photos / "a.png")[0], a)


def test_guidance_can_be_exaggerated(upscaled):
    plain, without = (
        upscaled("--tags", "sea", "--color-fix", "none")[0],
        upscaled("--tags", "none", "--color-fix", "none")[0],
    )
    more = upscaled("--tags", "sea", "--color-fix", "none", "--guidance-scale", "2")[0]
    assert not np.array_equal(more, plain)
    inside = (
        np.isin(more, (0, 255), invert=True)
        & np.isin(plain, (0, 255), invert=True)
        & np.isin(without, (0, 255), invert=True)
    )
    np.testing.assert_allclose(more[inside], 2.0 * plain[inside] - without[inside], atol=2.1)


def test_a_tagger_sees_the_photographs(upscaled, tmp_path):
    weights = save_ram(tmp_path / "ram", plus=True, threshold=0.0)
    everything = upscaled("--tags", "auto", "--tagger-weights", weights)[1]
    assert not np.array_equal(everything, upscaled("--tags", "none")[1])


def test_other_tags_are_another_result_and_no_others_are_made_again(
    model, photos, tmp_path, capsys
):
    arguments = ["upscale", str(photos), "--model", str(model), "--out", str(tmp_path / "out")]
    for expected in ("2 of 2 images are in", "2 of them by an earlier run"):
        assert main(arguments) == 0
        assert expected in capsys.readouterr().out
    (photos / "tags.jsonl").write_text('{"file": "a.png", "tags": ["cat"]}\n')
    assert main(arguments) == 0
    assert "1 of them by an earlier run" in capsys.readouterr().out
    Image.open(photos / "a.png").save(photos / "c.png")
    assert main(arguments) == 0
    assert "2 of them by an earlier run" in capsys.readouterr().out


def test_what_a_tagger_lacks_is_told_in_one_line(model, photos, tmp_path, capsys):
    arguments = [
        "upscale",
        str(photos),
        "--model",
        str(model),
        "--out",
        str(tmp_path / "out"),
        "--tags",
        "auto",
    ]
    for more, message in (
        ([], "--tagger-weights"),
        (["--tagger-weights", "ram.pth"], "fetch ram_plus_swin_large_14m.pth"),
    ):
        assert main([*arguments, *more]) == 2
        told = capsys.readouterr().err
        assert message in told and "--tags none" in told and told.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "ignored"),
    [
        (["--tags", "sea"], "--tags has"),
        (["--guidance-scale", "2"], "--guidance-scale has"),
        (["--tags", "sea", "--guidance-scale", "2"], "--tags and --guidance-scale have"),
    ],
)
def test_a_model_without_guidance_says_so(denoiser, photos, tmp_path, capsys, options, ignored):
    path = tmp_path / "plain.safetensors"
    save_denoiser(path, denoiser.state_dict(), asdict(denoiser.config) | {"shift": 3.0})
    assert (
        main(
            ["upscale", str(photos), "--model", str(path), "--out", str(tmp_path / "out"), *options]
        )
        == 0
    )
    assert f"trained without tags, {ignored} no effect\n" in capsys.readouterr().err


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_keys_and_values_are_made_once_for_all_cells_and_steps(model, photo, monkeypatch, scale):
    upscaler = Upscaler.from_pretrained(model, num_inference_steps=3, guidance_scale=scale)
    made, keys_values = [], upscaler.denoiser.net.keys_values
    monkeypatch.setattr(
        upscaler.denoiser.net, "keys_values", lambda context: made.append(1) or keys_values(context)
    )
    upscaler.upscale(np.tile(photo, (2, 2, 1)), tags="sea")
    assert len(made) == 1


def test_the_api_takes_tags(model, photo):
    upscaler = Upscaler.from_pretrained(model)
    small = photo[:16, :24]
    assert not np.array_equal(upscaler.upscale(small, tags="cat"), upscaler.upscale(small))
    assert np.array_equal(upscaler.upscale(small, tags="unknown"), upscaler.upscale(small))


def test_tags_in_a_folder_above_are_found_and_missing_ones_are_told(upscaled, photos, capsys):
    deeper = photos / "deeper"
    deeper.mkdir()
    for name in ("x.png", "y.png"):
        Image.open(photos / "a.png").save(deeper / name)
    with (photos / "tags.jsonl").open("a") as file:
        file.write('{"file": "deeper/x.png", "tags": ["sea", "boat"]}\n')
    capsys.readouterr()
    x, y = upscaled(source=deeper)
    assert not np.array_equal(x, y)
    told = capsys.readouterr().err
    assert f"no tags found for 1 of 2 photographs, such as {deeper / 'y.png'}" in told
    assert np.array_equal(upscaled("--steps", "1", source=deeper / "x.png")[0], x)
