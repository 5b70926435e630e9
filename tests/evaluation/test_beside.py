"""Other methods beside the one that is evaluated: what is compared, and what is kept of an earlier run."""

import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from PIL import Image
from support.evaluation_results import summary, table

from lsr.evaluation.beside import compare, in_words
from lsr.evaluation.data import find_items, predicted_items

METRICS = ("psnr_y", "ssim_y")


def rows(**values):
    """Rows of the images a, b, c... by the values of each metric."""
    per_image = zip(*values.values(), strict=True)
    return [
        {"name": "abcdef"[i]} | dict(zip(values, these, strict=True))
        for i, these in enumerate(per_image)
    ]


def ours_minus_theirs(out, method, metric):
    ours, theirs = table(out), table(out / "beside" / method)
    return [
        float(ours[name][metric]) - float(theirs[name][metric]) for name in ours if name in theirs
    ]


def changed(folder, before):
    """Names of the files that have been written again."""
    return {name for name, when in times(folder).items() if before[name] != when}


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_differences_are_paired_by_name():
    ours = rows(psnr_y=[20.0, 22.0, 25.0], niqe=[5.0, 4.0, 3.0])
    theirs = rows(psnr_y=[19.0, 23.0, 21.0], niqe=[6.0, 4.0, 5.0])[::-1]
    by_metric = compare(ours, theirs, ("psnr_y", "niqe"))
    # +1, -1, +4 dB: resamples of three reach from the least to the largest, each with a probability of 1 in 27
    assert by_metric["psnr_y"] == {
        "mean": 21.0,
        "mean_n": 3,
        "difference": pytest.approx(4 / 3),
        "ci95": [-1.0, 4.0],
        "n": 3,
        "better_in": 2,
    }
    niqe = by_metric["niqe"]
    assert (niqe["mean"], niqe["difference"], niqe["ci95"], niqe["better_in"]) == (
        5.0,
        -1.0,
        [-2.0, 0.0],
        2,
    ), "a tie is not better"


def test_an_image_that_one_of_both_lacks_does_not_shift_the_others():
    ours, theirs = (
        rows(psnr_y=[20.0, 30.0, 40.0, float("nan")]),
        rows(psnr_y=[19.0, 28.0, 37.0, 90.0]),
    )
    compared = compare(ours, [theirs[0], *theirs[2:]], ["psnr_y"])["psnr_y"]
    assert (compared["difference"], compared["n"], compared["better_in"]) == (2.0, 2, 2)
    assert (compared["mean"], compared["mean_n"]) == (pytest.approx((19 + 37 + 90) / 3), 3), (
        "all of theirs"
    )
    nothing = {"mean": None, "mean_n": 0, "difference": None, "ci95": None, "n": 0, "better_in": 0}
    assert compare(ours, [], ["psnr_y"])["psnr_y"] == nothing


def test_the_interval_is_the_paired_percentile_bootstrap():
    generator = np.random.Generator(np.random.Philox(key=3))
    hardness = generator.normal(0, 5, 60)  # what both methods suffer from
    ours, theirs = (
        28 + hardness + generator.exponential(1, 60),
        28 + hardness + generator.exponential(0.6, 60),
    )
    names = [f"{i}" for i in range(60)]
    mine, other = (
        [{"name": n, "psnr_y": v} for n, v in zip(names, values, strict=True)]
        for values in (ours, theirs)
    )
    low, high = compare(mine, other, ["psnr_y"])["psnr_y"]["ci95"]
    reference = scipy.stats.bootstrap(
        (ours, theirs),
        lambda x, y: np.mean(x - y),
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=9999,
        rng=generator,
    ).confidence_interval
    assert (low, high) == pytest.approx(
        tuple(reference), abs=0.05 * (reference.high - reference.low)
    )
    assert high - low < 1, "of unpaired values it would be five times as wide"


def test_a_comparison_in_words():
    compared = {"difference": 0.83, "ci95": [0.61, 1.05], "n": 24, "better_in": 22}
    assert in_words(compared) == "+0.8300 [0.6100, 1.0500], better in 22 of 24"
    assert (
        in_words(compared | {"ci95": None, "n": 1, "better_in": 0, "difference": -0.5})
        == "-0.5000, better in 0 of 1"
    )


def test_a_model_stands_beside_bicubic_lanczos_and_results_of_others(evaluate, model, data):
    (data / "bicubic").rename(data / "theirs")
    code, out, _ = evaluate(
        "--beside", f"bicubic, lanczos,{data / 'theirs'}/", source=("--model", model)
    )
    assert code == 0
    beside = summary(out)["beside"]
    assert list(beside) == ["bicubic", "lanczos", "theirs"]
    for method, by_metric in beside.items():
        for metric in METRICS:
            differences = ours_minus_theirs(out, method, metric)
            assert by_metric[metric]["difference"] == pytest.approx(np.mean(differences), abs=1e-6)
            assert by_metric[metric]["better_in"] == sum(
                difference > 0 for difference in differences
            )
    assert "## Beside other methods" in (out / "report.md").read_text()
    # PSNR on Y of BT.601, of the files
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


def test_another_list_and_another_model_keep_what_is_there(evaluate, model, data):
    _, out, _ = evaluate("--beside", "bicubic", source=("--model", model))
    pictures, ours = times(out / "beside/bicubic/predictions"), times(out / "predictions")
    figures = (out / "beside/bicubic/per_image.csv").read_bytes()
    code, _, _ = evaluate("--beside", "lanczos,bicubic", source=("--model", model))
    assert code == 0 and list(summary(out)["beside"]) == ["lanczos", "bicubic"]
    code, _, _ = evaluate(
        "--beside", "bicubic", "--steps", "2", "--overwrite", source=("--model", model)
    )
    assert code == 0 and changed(out / "predictions", ours)
    assert not changed(out / "beside/bicubic/predictions", pictures)
    assert (out / "beside/bicubic/per_image.csv").read_bytes() == figures
    Image.open(data / "LR" / "3.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        data / "LR" / "3.png"
    )
    code, _, _ = evaluate("--beside", "bicubic", "--steps", "2", source=("--model", model))
    assert code == 0 and changed(out / "beside/bicubic/predictions", pictures) == {"3.png"}


def test_rows_that_a_killed_run_has_left_are_kept(evaluate, data):
    _, out, _ = evaluate("--beside", "lanczos")
    folder = out / "beside" / "lanczos"
    whole, lines = (
        (folder / "per_image.csv").read_bytes(),
        (folder / "rows.jsonl").read_text().splitlines(keepends=True),
    )
    (folder / "rows.jsonl").unlink()
    (folder / "per_image.csv").unlink()
    (folder / "rows-0.jsonl").write_text("".join(lines[:3]) + lines[3][:30])
    before = times(folder / "predictions")
    code, out, _ = evaluate("--beside", "lanczos")
    assert code == 0 and (folder / "per_image.csv").read_bytes() == whole
    assert changed(folder / "predictions", before) == {"3.png", "4.png", "5.png"}


def test_two_processes_that_torchrun_has_started_give_the_same_tables(
    evaluate, model, data, tmp_path
):
    _, one, _ = evaluate("--beside", "bicubic", source=("--model", model), out="one")
    two = tmp_path / "two"
    command = [
        sys.executable,
        "-m",
        "lsr",
        "eval",
        "--model",
        model,
        "--data",
        data,
        "--metrics",
        "psnr,ssim",
        "--threads",
        "1",
    ]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        told = {
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(free.getsockname()[1]),
        }
    ranks = [
        subprocess.Popen(
            [*command, "--beside", "bicubic", "--out", two],
            env=os.environ | told | {"RANK": rank},
            stdout=subprocess.DEVNULL,
        )
        for rank in "01"
    ]
    assert [process.wait(120) for process in ranks] == [0, 0]
    assert summary(one)["beside"] == summary(two)["beside"]
    for figures in ("per_image.csv", "beside/bicubic/per_image.csv"):
        assert (one / figures).read_bytes() == (two / figures).read_bytes()
    assert not list(two.rglob("rows-*"))


def test_upsampling_beside_predictions_is_as_large_as_each_of_them(evaluate, data):
    for name, size in (("0", (32, 40)), ("1", (45, 41))):  # of LR photographs of 18 x 16 pixels
        for folder in ("bicubic", "HR"):
            Image.open(data / folder / f"{name}.png").resize(size).save(
                data / folder / f"{name}.png"
            )
    code, out, _ = evaluate("--beside", "bicubic,lanczos")
    assert code == 0
    for method in ("bicubic", "lanczos"):
        for path in sorted((out / "beside" / method / "predictions").iterdir()):
            assert Image.open(path).size == Image.open(data / "bicubic" / path.name).size


def test_what_a_method_lacks_is_named_and_the_rest_is_compared(evaluate, data):
    shutil.copytree(data / "HR", data / "theirs")
    (data / "theirs" / "1.png").unlink()
    (data / "theirs" / "4.png").write_bytes(b"")
    (data / "bicubic" / "5.png").unlink()
    code, out, err = evaluate("--beside", f"{data / 'theirs'},bicubic")
    assert code == 1 and list(table(out)) == list("01234")
    assert (
        "failed: 1, beside theirs: no prediction of this name" in err
        and "theirs/4.png: the file is empty" in err
    )
    found = summary(out)
    assert {method: set(these) for method, these in found["missing_beside"].items()} == {
        "theirs": {"1", "4"}
    }
    assert (
        found["beside"]["theirs"]["psnr_y"]["n"],
        found["beside"]["bicubic"]["psnr_y"]["n"],
    ) == (3, 5)
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
    assert (
        code == 0
        and not summary(out)["missing_beside"]
        and summary(out)["beside"]["theirs"]["psnr_y"]["n"] == 6
    )


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
    assert code == 1 and f"failed: 3, beside theirs: {reason}\n" in err
    assert (
        found["missing_beside"]["theirs"].keys() == {"0", "3"}
        and found["missing_beside"]["theirs"]["3"] == reason
    )
    assert any(ours_minus_theirs(out, "theirs", "psnr_y")), "the method's own table has them"
    psnr = found["beside"]["theirs"]["psnr_y"]
    assert (psnr["n"], psnr["mean_n"], psnr["difference"], psnr["better_in"]) == (4, 4, 0, 0), (
        "the other four are the same pictures"
    )
    assert f"| {psnr['mean']:.4f} (n 4) |" in (out / "report.md").read_text()


def test_a_distance_of_sets_stands_only_beside_that_of_the_same_images(
    evaluate, data, tmp_path, monkeypatch
):
    class MeanBytes:
        """Takes FID's place, whose weights are not everywhere."""

        files = [tmp_path / "weights"]

        def __init__(self, weights):
            self.files[0].touch()

        def __call__(self, sr, hr, device):
            return float(np.mean([path.stat().st_size for path in sr]))

    for module in ("available", "results"):
        monkeypatch.setattr(f"lsr.evaluation.{module}.FrechetInceptionDistance", MeanBytes)
    for name in ("whole", "part"):
        shutil.copytree(data / "HR", data / name)
    (data / "part" / "4.png").unlink()
    code, out, _ = evaluate("--beside", f"{data / 'whole'},{data / 'part'}", metrics="psnr,fid")
    beside = summary(out)["beside"]
    expected = np.mean([path.stat().st_size for path in (data / "HR").iterdir()])
    assert (beside["whole"]["fid"]["mean"], beside["whole"]["fid"]["mean_n"]) == (
        pytest.approx(expected),
        6,
    )
    assert beside["part"]["fid"]["mean"] is None and beside["part"]["psnr_y"]["n"] == 5
    assert f"| {expected:.4f} | – |\n" in (out / "report.md").read_text()


def test_photographs_are_read_once_however_many_folders_stand_beside(data, tmp_path):
    shutil.copytree(data / "HR", data / "theirs")
    alone = find_items(data, None, data / "theirs", tmp_path / "out")
    ours = find_items(data, None, data / "bicubic", tmp_path / "out")
    shutil.rmtree(data / "LR")
    shutil.rmtree(data / "HR")
    assert predicted_items(ours, data / "theirs") == alone
    assert not {item.inputs for item in alone} & {item.inputs for item in ours}


def test_an_lr_photograph_that_only_upsampling_needs_is_named_if_it_is_damaged(evaluate, data):
    (data / "LR" / "2.png").write_bytes(b"")
    _, out, err = evaluate("--data", data / "LR", "--beside", "lanczos")
    assert summary(out)["images"]["scored"] == 6
    assert "failed: 2, beside lanczos: " in err and "LR/2.png: the file is empty" in err


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("spline", "'spline' is neither bicubic nor lanczos nor a folder"),
        ("bicubic,,lanczos", "'' is neither"),
        ("nowhere/results", "'nowhere/results' is neither"),
        ("/", "'/' has no name"),
        ("bicubic,{data}/bicubic", "two methods are called 'bicubic'"),
        ("{data}/others", "no prediction there is named like one of the 6 LR photographs"),
    ],
)
def test_methods_that_are_not_there_are_bad_usage(evaluate, data, methods, message):
    (data / "others").mkdir()
    shutil.copy(data / "HR" / "0.png", data / "others" / "portrait.png")
    code, out, err = evaluate("--beside", methods.format(data=data))
    assert code == 2 and message in err and err.count("\n") == 1
    assert not out.exists()


def test_rows_of_another_method_of_the_same_name_are_not_taken(evaluate, data):
    _, out, _ = evaluate("--beside", "bicubic")
    code, _, err = evaluate("--beside", str(data / "bicubic"))
    assert code == 2 and "holds an evaluation with another upsampling" in err
