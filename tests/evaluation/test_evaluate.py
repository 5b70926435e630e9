"""`lsr eval` from end to end, with a small random model or with bicubic interpolation."""

import hashlib
from dataclasses import asdict, replace

import numpy as np
import pyiqa
import pytest
import torch
from PIL import Image
from support.evaluation_results import summary, table
from support.tiny import TINY
from support.web_page import WebPage

from lsr.models.checkpoint import save_denoiser
from lsr.models.denoiser import Denoiser
from lsr.nn.dit import LinearDiT

LUMA = {"test_y_channel": True, "color_space": "ycbcr"}


def test_every_value_equals_that_of_pyiqa_for_the_files(evaluate, data):
    code, out, _ = evaluate()
    assert code == 0
    rows = table(out)
    assert list(rows) == list("012345")
    for name, key in (("psnr", "psnr_y"), ("ssim", "ssim_y")):
        direct = pyiqa.create_metric(name, device=torch.device("cpu"), **LUMA)
        for image, row in rows.items():
            expected = float(
                direct(str(data / "bicubic" / f"{image}.png"), str(data / "HR" / f"{image}.png"))
            )
            assert float(row[key]) == pytest.approx(expected, abs=1e-6)
        mean = np.mean([float(row[key]) for row in rows.values()])
        assert summary(out)["results"][key]["mean"] == pytest.approx(mean, abs=1e-6)


def test_a_model_is_judged_by_the_pictures_it_leaves(evaluate, model, data):
    code, out, _ = evaluate(source=("--model", model))
    assert code == 0
    assert sorted(path.name for path in (out / "predictions").iterdir()) == [
        f"{i}.png" for i in range(6)
    ]
    code, folder, _ = evaluate(source=("--model", model.parent), out="by-folder")
    assert (
        code == 0
        and (folder / "per_image.csv").read_bytes() == (out / "per_image.csv").read_bytes()
    )
    again, other, _ = evaluate(source=("--predictions", out / "predictions"), out="again")
    assert again == 0
    values = [
        [(row["psnr_y"], row["ssim_y"]) for row in table(folder).values()]
        for folder in (out, other)
    ]
    assert values[0] == values[1]
    assert summary(out)["model"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert "model sha256" in (out / "report.md").read_text()
    page = WebPage((out / "report.html").read_text())
    results = {row[0]: row for row in page.rows("Results")[1:]}
    assert results["psnr_y"][1] == f"{summary(out)['results']['psnr_y']['mean']:.5g}"
    assert len(page.all("img")) == 1 and "6 of 6 images" in page.text


def test_weights_come_from_the_folder_that_was_named(evaluate, data, tmp_path):
    generator = torch.Generator().manual_seed(0)
    weights = tmp_path / "weights" / "brisque_svm_weights.pth"
    weights.parent.mkdir()
    torch.save(
        (torch.randn(5, generator=generator), torch.randn(5, 36, generator=generator)), weights
    )
    code, out, _ = evaluate("--weights", weights.parent, metrics="brisque")
    direct = pyiqa.create_metric(
        "brisque", device=torch.device("cpu"), pretrained_model_path=str(weights)
    )
    assert code == 0
    for name, row in table(out).items():
        assert float(row["brisque"]) == pytest.approx(
            float(direct(str(data / "bicubic" / f"{name}.png"))), rel=1e-6
        )
    card = summary(out)["metrics"]["brisque"]
    assert card["weights"][0]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_metrics_that_cannot_be_computed_are_reported_and_the_others_are_computed(
    evaluate, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    code, out, err = evaluate(metrics="musiq,psnr")
    assert code == 1
    place = tmp_path / "empty" / "hub" / "pyiqa" / "musiq_koniq_ckpt-e95806b9.pth"
    assert f"musiq_koniq_ckpt-e95806b9.pth to {place}" in err
    assert summary(out)["results"].keys() == {"psnr_y"}
    assert (
        "`musiq`: its weights are not on this machine: fetch http"
        in (out / "report.md").read_text()
    )
    code, out, _ = evaluate(metrics=None, out="default")
    assert code == 0, "no metric was requested by name"
    assert (
        set(summary(out)["results"]) == {"psnr_y", "ssim_y", "lr_psnr_y"}
        and "musiq" in summary(out)["unavailable"]
    )


def test_without_hr_photographs_there_is_nothing_to_compare_with(evaluate, data):
    code, out, err = evaluate("--data", data / "LR", metrics="psnr,lr_psnr_y")
    assert code == 1 and "psnr_y: compares with HR photographs" in err
    assert summary(out)["results"].keys() == {"lr_psnr_y"}, "this compares with LR photographs"
    assert summary(out)["metrics"]["lr_psnr_y"]["reference"] == "LR"
    assert summary(out)["images"] == {"found": 6, "scored": 6}


def test_odd_files_are_named_and_the_rest_is_done(evaluate, data, model):
    whole = (data / "LR" / "0.png").read_bytes()
    (data / "LR" / "0.png").write_bytes(whole[: len(whole) // 2])
    (data / "LR" / "3.png").write_bytes(b"")
    Image.open(data / "HR" / "5.png").resize((8, 8)).save(data / "HR" / "5.png")
    code, out, err = evaluate(source=("--model", model))
    assert code == 1
    assert list(table(out)) == list("124")
    assert set(summary(out)["failed"]) == set("035")
    for text in (
        "LR/0.png: damaged or truncated",
        "LR/3.png: the file is empty",
        "HR/5.png: its 8 x 8 pixels do not fit",
    ):
        assert text in err
    (data / "LR" / "0.png").write_bytes(whole)
    code, out, _ = evaluate(source=("--model", model))
    assert code == 1 and list(table(out)) == list("0124")


def test_missing_predictions_are_named_and_can_be_supplied(evaluate, data):
    hidden = data / "4.png"
    (data / "bicubic" / "4.png").rename(hidden)
    code, out, err = evaluate()
    assert code == 1 and "failed: 4: " in err and "no prediction of this name" in err
    hidden.rename(data / "bicubic" / "4.png")
    code, out, _ = evaluate()
    assert code == 0 and list(table(out)) == list("012345")


@pytest.mark.parametrize(
    ("suffixes", "hr_names"), [(("", ""), False), (("_x4", "_x1"), False), (("_LR4", "_HR"), True)]
)
def test_predictions_are_found_by_the_name_of_lr_or_hr(evaluate, data, suffixes, hr_names):
    for folder, suffix in (
        ("LR", suffixes[0]),
        ("HR", suffixes[1]),
        ("bicubic", suffixes[1] if hr_names else suffixes[0]),
    ):
        for path in (data / folder).iterdir():
            path.rename(path.with_stem(path.stem + suffix))
    code, out, _ = evaluate()
    assert code == 0 and list(table(out)) == [f"{i}{suffixes[0]}" for i in range(6)]


def test_lr_photographs_and_targets_can_lie_anywhere(evaluate, data, tmp_path):
    (data / "LR").rename(tmp_path / "small")
    (data / "HR").rename(tmp_path / "large")
    code, out, _ = evaluate("--data", tmp_path / "small", "--targets", tmp_path / "large")
    assert code == 0 and len(table(out)) == 6


def test_an_hr_photograph_may_exceed_the_result_by_less_than_an_lr_pixel(evaluate, data):
    _, out, _ = evaluate()
    expected = table(out)["0"]["psnr_y"]
    hr = np.asarray(Image.open(data / "HR" / "0.png"))
    Image.fromarray(np.pad(hr, ((0, 3), (0, 2), (0, 0)))).save(data / "HR" / "0.png")
    code, out, _ = evaluate()
    assert code == 0 and table(out)["0"]["psnr_y"] == expected
    Image.fromarray(np.pad(hr, ((0, 4), (0, 0), (0, 0)))).save(data / "HR" / "0.png")
    code, _, err = evaluate()
    assert code == 1 and "pixels do not fit the" in err


def test_an_image_too_small_for_a_metric_has_no_value(evaluate, data):
    for folder, size in (("LR", (2, 4)), ("HR", (8, 16)), ("bicubic", (8, 16))):
        Image.open(data / folder / "1.png").resize(size).save(data / folder / "1.png")
    code, out, _ = evaluate()
    assert code == 1, "the metric was requested by name"
    assert table(out)["1"]["ssim_y"] == "nan" and float(table(out)["1"]["psnr_y"]) > 0
    assert summary(out)["without_value"] == {"1": ["ssim_y"]}
    assert summary(out)["results"]["ssim_y"]["n"] == 5


def test_results_do_not_depend_on_memory_and_the_report_has_the_colour_fix(
    evaluate, model, data, photo, monkeypatch
):
    Image.fromarray(photo[:64, :72]).save(data / "LR" / "0.png")
    Image.fromarray(photo).resize((288, 256)).save(data / "HR" / "0.png")
    _, out, _ = evaluate(source=("--model", model))
    whole = table(out)["0"]["psnr_y"]
    monkeypatch.setattr("lsr.inference.memory.free_bytes", lambda device: 300 * 2**20)
    _, other, _ = evaluate("--memory", "200MiB", source=("--model", model), out="other")
    assert table(other)["0"]["psnr_y"] == whole
    _, other, _ = evaluate("--color-fix", "none", source=("--model", model), out="other2")
    assert table(other)["0"]["psnr_y"] != whole
    assert "color_fix none" in (other / "report.md").read_text()


def test_sampling_options_are_ignored_with_predictions(evaluate):
    code, _, _ = evaluate("--steps", "0", "--color-fix", "sepia")
    assert code == 0


@pytest.mark.parametrize(
    "option", [("--steps", "0"), ("--tile", "32"), ("--memory", "much"), ("--color-fix", "sepia")]
)
def test_an_option_that_no_model_takes_leaves_nothing_behind(evaluate, model, option):
    code, out, err = evaluate(*option, source=("--model", model))
    assert code == 2 and err.count("\n") == 1 and not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metrics", "magic"], "unknown 'magic'; known are psnr_y"),
        (["--device", "abacus"], "no such device"),
        (["--devices", "0"], "must be at least 1"),
        (["--protocol", "crop128"], "images, not 6"),
        (["--predictions", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_bad_options_are_bad_usage(evaluate, options, message):
    code, out, err = evaluate(*options)
    assert code == 2 and message in err and err.count("\n") == 1
    assert not out.exists()


def test_a_missing_model_gives_the_same_error_as_in_other_verbs(evaluate):
    code, out, err = evaluate(source=("--model", "nowhere.safetensors"))
    assert code == 2
    assert err == "lsr eval: nowhere.safetensors: no such model file; check the path\n"
    assert not out.exists()


def test_results_cannot_lie_among_the_photographs(evaluate, data):
    code, _, err = evaluate(out="data/LR/scores")
    assert code == 2 and "lies inside --data" in err


def test_a_folder_that_cannot_be_made_is_reported_in_one_line(evaluate, tmp_path):
    (tmp_path / "notes.txt").touch()
    code, out, err = evaluate(out="notes.txt/scores")
    assert code == 2 and err == f"lsr eval: --out {out} cannot be created: Not a directory\n"


def test_a_folder_without_write_permission_is_reported_in_one_line(evaluate, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    code, out, err = evaluate()
    assert code == 2 and err == f"lsr eval: --out {out} cannot be written to: Permission denied\n"


def test_an_image_for_which_memory_does_not_suffice_is_named_and_the_rest_is_done(
    evaluate, model, monkeypatch
):
    forward = LinearDiT.forward
    calls = []

    def limited(*arguments, **options):
        calls.append(1)
        if len(calls) in (2, 3):  # as planned, then with as little memory as possible
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't "
                "allocate memory: you tried to allocate 10 bytes"
            )
        return forward(*arguments, **options)

    monkeypatch.setattr(LinearDiT, "forward", limited)
    code, out, err = evaluate(source=("--model", model))
    assert code == 1 and ".png: out of memory\n" in err and list(table(out)) == list("02345")


def test_a_model_guided_by_tags_reads_them_from_the_folder_of_the_lr_photographs(
    evaluate, data, tmp_path, generator
):
    config = replace(TINY, guidance="tags", vocabulary=("cat", "sea"))
    weights = {
        k: 0.2 * torch.randn(v.shape, generator=generator)
        for k, v in Denoiser(config).state_dict().items()
    }
    model = tmp_path / "guided.safetensors"
    save_denoiser(model, weights, asdict(config) | {"shift": 3.0})
    _, out, _ = evaluate(source=("--model", model))
    without = table(out)
    (data / "LR" / "tags.jsonl").write_text('{"file": "2.png", "tags": ["sea"]}\n')
    _, out, err = evaluate(source=("--model", model))
    assert "no tags found for 5 of 6 photographs, such as " in err
    assert {name for name, row in table(out).items() if row != without[name]} == {"2"}
    assert table(out)["2"]["psnr_y"] != without["2"]["psnr_y"]
