"""`lsr eval --beside`: what is compared, and what the report and the summary contain of it."""

import shutil

import numpy as np
import pytest
from PIL import Image
from support.evaluation_results import summary, table

METRICS = ("psnr_y", "ssim_y")


def ours_minus_theirs(out, method, metric):
    """Return the differences of all images that both tables have."""
    ours = table(out)
    theirs = table(out / "beside" / method)
    return [
        float(ours[name][metric]) - float(theirs[name][metric]) for name in ours if name in theirs
    ]


def test_a_model_is_compared_with_bicubic_lanczos_and_results_in_a_folder(evaluate, model, data):
    (data / "bicubic").rename(data / "theirs")
    code, out, _ = evaluate(
        "--beside", f"bicubic, lanczos,{data / 'theirs'}/", source=("--model", model)
    )
    assert code == 0
    comparisons = summary(out)["beside"]
    assert list(comparisons) == ["bicubic", "lanczos", "theirs"]
    for method, by_metric in comparisons.items():
        for metric in METRICS:
            differences = ours_minus_theirs(out, method, metric)
            assert by_metric[metric]["difference"] == pytest.approx(np.mean(differences), abs=1e-6)
            assert by_metric[metric]["better_in"] == sum(
                difference > 0 for difference in differences
            )
    assert "## Comparison with other methods" in (out / "report.md").read_text()
    # The definition of PSNR on Y of BT.601, computed from the files.
    luma = np.array([65.481, 128.553, 24.966]) / 255
    sr, hr = (
        np.asarray(Image.open(folder / "2.png")) @ luma
        for folder in (out / "beside/bicubic/predictions", data / "HR")
    )
    assert float(table(out / "beside/bicubic")["2"]["psnr_y"]) == pytest.approx(
        10 * np.log10(255**2 / ((sr - hr) ** 2).mean()), abs=1e-3
    )
    _, alone, _ = evaluate(source=("--predictions", data / "theirs"), out="alone")
    assert (alone / "per_image.csv").read_bytes() == (
        out / "beside" / "theirs" / "per_image.csv"
    ).read_bytes()
    _, without, _ = evaluate(source=("--model", model), out="without")
    assert (without / "per_image.csv").read_bytes() == (out / "per_image.csv").read_bytes()


def test_upsampling_is_as_large_as_each_prediction(evaluate, data):
    for name, size in (("0", (32, 40)), ("1", (45, 41))):  # the LR photographs have 18 x 16 pixels
        for folder in ("bicubic", "HR"):
            Image.open(data / folder / f"{name}.png").resize(size).save(
                data / folder / f"{name}.png"
            )
    code, out, _ = evaluate("--beside", "bicubic,lanczos")
    assert code == 0
    for method in ("bicubic", "lanczos"):
        for path in sorted((out / "beside" / method / "predictions").iterdir()):
            assert Image.open(path).size == Image.open(data / "bicubic" / path.name).size


def test_images_that_a_method_lacks_are_named_and_the_rest_is_compared(evaluate, data):
    shutil.copytree(data / "HR", data / "theirs")
    (data / "theirs" / "1.png").unlink()
    (data / "theirs" / "4.png").write_bytes(b"")
    (data / "bicubic" / "5.png").unlink()
    code, out, err = evaluate("--beside", f"{data / 'theirs'},bicubic")
    assert code == 1 and list(table(out)) == list("01234")
    assert "failed: 1, method theirs: no prediction of this name" in err
    assert "theirs/4.png: the file is empty" in err
    found = summary(out)
    assert found["missing_beside"].keys() == {"theirs"}
    assert found["missing_beside"]["theirs"].keys() == {"1", "4"}
    assert found["beside"]["theirs"]["psnr_y"]["n"] == 3
    assert found["beside"]["bicubic"]["psnr_y"]["n"] == 5
    differences = ours_minus_theirs(out, "theirs", "psnr_y")
    assert len(differences) == 3
    assert found["beside"]["theirs"]["psnr_y"]["difference"] == pytest.approx(
        np.mean(differences), abs=1e-6
    )
    shutil.copy(data / "HR" / "5.png", data / "bicubic")
    code, out, _ = evaluate("--beside", str(data / "theirs"))
    assert code == 1 and not summary(out)["failed"], "ours is complete, theirs is not"
    for name in "14":
        shutil.copy(data / "HR" / f"{name}.png", data / "theirs")
    code, out, _ = evaluate("--beside", str(data / "theirs"))
    assert code == 0
    assert not summary(out)["missing_beside"]
    assert summary(out)["beside"]["theirs"]["psnr_y"]["n"] == 6


def test_results_of_another_size_are_named_with_both_sizes_and_not_compared(evaluate, data):
    shutil.copytree(data / "bicubic", data / "theirs")
    width, height = Image.open(data / "bicubic" / "3.png").size
    for name in "03":
        Image.open(data / "bicubic" / f"{name}.png").crop((0, 0, width - 1, height)).save(
            data / "theirs" / f"{name}.png"
        )
    code, out, err = evaluate("--beside", str(data / "theirs"))
    reason = f"the result has {width - 1} x {height} pixels, ours {width} x {height}"
    found = summary(out)
    assert code == 1 and f"failed: 3, method theirs: {reason}\n" in err
    missing = found["missing_beside"]["theirs"]
    assert missing.keys() == {"0", "3"} and missing["3"] == reason
    assert any(ours_minus_theirs(out, "theirs", "psnr_y")), (
        "the table of the method itself has them"
    )
    psnr = found["beside"]["theirs"]["psnr_y"]
    assert (psnr["n"], psnr["mean_n"], psnr["difference"], psnr["better_in"]) == (4, 4, 0, 0), (
        "the other four are the same pictures"
    )
    assert f"| {psnr['mean']:.4f} (n 4) |" in (out / "report.md").read_text()


def test_fid_is_given_only_for_a_method_with_the_same_images(evaluate, data, tmp_path, monkeypatch):
    class MeanBytes:
        """Replaces FID, whose weights are not on every machine."""

        files = [tmp_path / "weights"]

        def __init__(self, weights):
            self.files[0].touch()

        def __call__(self, sr, hr, device):
            return float(np.mean([path.stat().st_size for path in sr]))

    for module in ("available", "method_result"):
        monkeypatch.setattr(f"lsr.evaluation.{module}.FrechetInceptionDistance", MeanBytes)
    for name in ("whole", "part"):
        shutil.copytree(data / "HR", data / name)
    (data / "part" / "4.png").unlink()
    code, out, _ = evaluate("--beside", f"{data / 'whole'},{data / 'part'}", metrics="psnr,fid")
    comparisons = summary(out)["beside"]
    expected = np.mean([path.stat().st_size for path in (data / "HR").iterdir()])
    whole = comparisons["whole"]["fid"]
    assert (whole["mean"], whole["mean_n"]) == (pytest.approx(expected), 6)
    part = comparisons["part"]
    assert part["fid"]["mean"] is None and part["psnr_y"]["n"] == 5
    assert f"| {expected:.4f} | – |\n" in (out / "report.md").read_text()
