"""`lsr degrade` on real files: the picture of a degradation, and exports that survive whatever happens to them."""

import fcntl
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from lsr.cli import main
from lsr.degradations import DegradationConfig, DegradationParameters, apply, draw
from lsr.degradations.export import LAW_FILE, PARAMETERS_FILE, degrade, sample_index, write_rgb8
from lsr.images import read_rgb8


@pytest.fixture
def photos(tmp_path, photo):
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    Image.fromarray(photo[:40, :56]).save(folder / "a.png")
    Image.fromarray(photo[20:61, :50]).save(folder / "b.jpg")
    Image.fromarray(photo[:32, 30:70]).save(folder / "b.png")
    Image.fromarray(photo[:48, :48]).convert("L").save(folder / "deeper" / "a.png")
    return folder


def export(source, out, *options):
    return main(["degrade", "export", str(source), "--out", str(out), *map(str, options)])


def lines(out):
    return [json.loads(line) for line in (out / PARAMETERS_FILE).read_text().splitlines()]


def content(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("preset", ["realesrgan", "stablesr", "bicubic"])
def test_every_lr_can_be_made_again_from_its_line(photos, tmp_path, preset):
    out = tmp_path / "out"
    assert (
        export(
            photos,
            out,
            "--preset",
            preset,
            "--seed",
            5,
            "--per-image",
            2,
            "--set",
            "sigma_1=[0.5, 2]",
            "--scale",
            3,
        )
        == 0
    )
    law = json.loads((out / LAW_FILE).read_text())
    cfg = DegradationConfig(**law["config"])
    assert (cfg.scale, cfg.sigma_1, law["seed"]) == (3, (0.5, 2.0), 5)
    assert len(lines(out)) == 8
    for line in lines(out):
        assert (line["preset"], line["config"]) == (preset, cfg.digest())
        parameters = DegradationParameters.from_json(json.dumps(line["parameters"]))
        assert parameters == draw(cfg, line["seed"], line["epoch"], line["index"])
        hr = read_rgb8(photos / line["source"])
        write_rgb8(tmp_path / "again.png", degrade(hr, parameters, cfg))
        assert (tmp_path / "again.png").read_bytes() == (out / line["file"]).read_bytes(), line[
            "file"
        ]
        exact = (
            apply(torch.from_numpy(hr).permute(2, 0, 1)[None] / 255, [parameters], cfg)[0]
            .permute(1, 2, 0)
            .numpy()
            * 255
        )
        assert np.abs(read_rgb8(out / line["file"]) - exact).max() < 0.501, (
            "rounded to the nearest level"
        )


def test_the_lr_have_the_names_of_their_photographs_and_a_quarter_of_their_sides(photos, tmp_path):
    assert export(photos, tmp_path / "out") == 0
    sizes = {
        line["file"]: (line["source"], Image.open(tmp_path / "out" / line["file"]).size)
        for line in lines(tmp_path / "out")
    }
    assert sizes == {
        "a.png": ("a.png", (14, 10)),
        "b.jpg.png": ("b.jpg", (12, 10)),
        "b.png.png": ("b.png", (10, 8)),
        "deeper/a.png": ("deeper/a.png", (12, 12)),
    }


def test_bicubic_is_the_reduction_that_it_says(photos, tmp_path):
    assert export(photos / "a.png", tmp_path / "out", "--preset", "bicubic") == 0
    hr = torch.from_numpy(read_rgb8(photos / "a.png")).permute(2, 0, 1)[None].float()
    expected = (
        torch.nn.functional.interpolate(hr, scale_factor=0.25, mode="bicubic", antialias=True)[0]
        .permute(1, 2, 0)
        .numpy()
    )
    assert np.abs(read_rgb8(tmp_path / "out" / "a.png") - expected.clip(0, 255)).max() <= 0.51


def test_an_lr_does_not_depend_on_what_else_is_exported(photos, tmp_path):
    assert export(photos, tmp_path / "all") == 0
    assert export(photos / "a.png", tmp_path / "one") == 0
    assert (tmp_path / "one" / "a.png").read_bytes() == (tmp_path / "all" / "a.png").read_bytes()
    assert [line for line in lines(tmp_path / "all") if line["file"] == "a.png"] == lines(
        tmp_path / "one"
    )
    assert len({line["index"] for line in lines(tmp_path / "all")}) == 4


def test_sample_indices_are_spread_over_63_bits():
    indices = np.array([sample_index(f"{i:04d}.png") for i in range(1000)], dtype=np.uint64)
    assert len(set(indices.tolist())) == 1000 and indices.max() < 2**63
    bits = (indices[:, None] >> np.arange(63, dtype=np.uint64) & np.uint64(1)).mean(0)
    assert np.abs(bits - 0.5).max() < 0.1


def test_photographs_that_come_later_leave_what_is_there_alone(photos, photo, tmp_path, capsys):
    out = tmp_path / "out"
    assert export(photos, out) == 0
    before, times = content(out), {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    Image.fromarray(photo[:16, :16]).save(
        photos / "a.jpg"
    )  # with it a.png would have been named a.png.png
    Image.fromarray(photo[:16, :16]).save(photos / "0.png")
    assert export(photos, out) == 0
    assert "2 LR images written" in capsys.readouterr().out
    after = content(out)
    assert set(after) - set(before) == {"0.png", "a.jpg.png"}
    assert all(path.stat().st_mtime_ns == then for path, then in times.items())
    assert after[PARAMETERS_FILE].startswith(before[PARAMETERS_FILE])


def test_a_second_draw_can_be_added(photos, tmp_path):
    out = tmp_path / "out"
    assert export(photos, out, "--per-image", 2) == 0
    assert export(photos, out, "--per-image", 3) == 0
    assert export(photos, tmp_path / "at_once", "--per-image", 3) == 0
    assert sorted(map(str, lines(out))) == sorted(map(str, lines(tmp_path / "at_once")))
    assert {name for name in content(out) if name.startswith("a_")} == {
        "a__0.png",
        "a__1.png",
        "a__2.png",
    }
    assert len({content(out)[f"a__{k}.png"] for k in range(3)}) == 3


def test_a_killed_export_continues_as_if_nothing_had_been(photos, tmp_path):
    options = ["--per-image", 12, "--seed", 9]
    assert export(photos, tmp_path / "unbroken", *options) == 0
    out = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "lsr",
        "degrade",
        "export",
        str(photos),
        "--out",
        str(out),
        *map(str, options),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if (out / PARAMETERS_FILE).exists() and (out / PARAMETERS_FILE).read_bytes().count(
            b"\n"
        ) >= 3:
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it must have been killed in the middle"
    assert 3 <= (out / PARAMETERS_FILE).read_bytes().count(b"\n") < 48
    assert export(photos, out, *options) == 0
    assert content(out) == content(tmp_path / "unbroken")


def break_by_half_a_line(out):
    ledger = out / PARAMETERS_FILE
    ledger.write_bytes(ledger.read_bytes()[:-40])


def break_by_a_missing_line_end(out):
    ledger = out / PARAMETERS_FILE
    ledger.write_bytes(ledger.read_bytes()[:-1])


def break_by_a_file_without_its_line(out):
    ledger = out / PARAMETERS_FILE
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))


def break_by_a_line_without_its_file(out):
    (out / "b.jpg.png").unlink()


def break_by_a_line_that_came_twice(out):
    ledger = out / PARAMETERS_FILE
    ledger.write_bytes(ledger.read_bytes() + ledger.read_bytes().splitlines(keepends=True)[1])


def break_by_a_temporary_file(out):
    (out / "deeper" / ".0123456789abcdef.tmp").write_bytes(b"half a picture")


def break_before_the_first_line(out):
    for path in out.rglob("*.png"):
        path.unlink()
    (out / PARAMETERS_FILE).unlink()


@pytest.mark.parametrize(
    "damage",
    [
        break_by_half_a_line,
        break_by_a_missing_line_end,
        break_by_a_file_without_its_line,
        break_by_a_line_without_its_file,
        break_by_a_line_that_came_twice,
        break_by_a_temporary_file,
        break_before_the_first_line,
    ],
)
def test_files_and_lines_are_one_to_one_again_after(damage, photos, tmp_path):
    out = tmp_path / "out"
    assert export(photos, out) == 0
    whole = content(out)
    damage(out)
    assert content(out) != whole
    assert export(photos, out) == 0
    mended = content(out)
    assert sorted(mended.pop(PARAMETERS_FILE).splitlines(keepends=True)) == sorted(
        whole.pop(PARAMETERS_FILE).splitlines(keepends=True)
    )
    assert mended == whole


@pytest.mark.parametrize(
    "other", [["--seed", 1], ["--preset", "stablesr"], ["--scale", 2], ["--set", "usm_lr=false"]]
)
def test_another_law_in_the_same_folder_is_refused(photos, tmp_path, capsys, other):
    out = tmp_path / "out"
    assert export(photos, out) == 0
    before = content(out)
    assert export(photos, out, *other) == 2
    error = capsys.readouterr().err
    assert "choose another folder" in error and error.count("\n") == 1 and content(out) == before


def test_a_folder_of_other_things_is_refused(photos, tmp_path, capsys):
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "a.png").write_bytes((photos / "a.png").read_bytes())
    before = content(tmp_path / "album")
    assert export(photos, tmp_path / "album") == 2
    assert (
        "neither empty nor an export" in capsys.readouterr().err
        and content(tmp_path / "album") == before
    )


def test_another_photograph_of_the_same_name_is_not_taken_for_the_first(
    photos, photo, tmp_path, capsys
):
    assert export(photos / "a.png", tmp_path / "out") == 0
    other = tmp_path / "others" / "a.png"
    other.parent.mkdir()
    Image.fromarray(photo[8:72]).save(other)
    assert export(other, tmp_path / "out") == 2
    assert "was made from another a.png" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense"])
def test_a_law_of_someone_else_is_refused(photos, tmp_path, capsys, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LAW_FILE).write_text(text)
    assert export(photos, tmp_path / "out") == 2
    assert "not of this command, or damaged" in capsys.readouterr().err


def test_two_exports_do_not_write_to_one_folder_at_a_time(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert export(photos / "a.png", out) == 0
    with (out / LAW_FILE).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert export(photos, out) == 2
    assert "another export is writing there" in capsys.readouterr().err
    assert export(photos, out) == 0


def test_bad_photographs_are_named_and_the_rest_is_done(photos, photo, tmp_path, capsys):
    (photos / "torn.jpg").write_bytes((photos / "b.jpg").read_bytes()[:300])
    (photos / "empty.png").write_bytes(b"")
    Image.fromarray(photo[:3, :90]).save(photos / "flat.png")
    assert export(photos, tmp_path / "out") == 1
    out = capsys.readouterr()
    failures = sorted(line for line in out.err.splitlines() if line.startswith("failed:"))
    assert [re.sub(r".*/", "", line).split(":")[0] for line in failures] == [
        "empty.png",
        "flat.png",
        "torn.jpg",
    ]
    assert (
        "90 x 3 pixels" in failures[1]
        and "4 LR images written" in out.out
        and "3 photographs failed" in out.out
    )
    assert {line["file"] for line in lines(tmp_path / "out")} == {
        name for name in content(tmp_path / "out") if name.endswith(".png")
    }


def test_what_cannot_be_written_ends_the_export_in_one_line_and_loses_nothing(
    photos, tmp_path, capsys
):
    assert export(photos / "a.png", tmp_path / "out") == 0
    (tmp_path / "out" / "deeper").write_text("a file where a folder must be made")
    assert export(photos, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "deeper: File exists" in error and error.count("\n") == 1
    assert {line["file"] for line in lines(tmp_path / "out")} == {
        name for name in content(tmp_path / "out") if name.endswith(".png")
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "fog"], "known: realesrgan"),
        (["--set", "fog=1"], "unknown degradation setting fog"),
        (["--set", "sigma_1"], "not of the form key=value"),
        (["--set", "jpeg=libjpeg"], "text needs its quotes"),
        (["--set", "sigma_1=3"], "sigma_1 must be (low, high)"),
        (["--set", 'usm_lr="no"'], "usm_lr must be true or false"),
        (["--set", "sinc_probability=true"], "sinc_probability must lie in"),
        (["--set", "sigma_1=[3, 1]"], "sigma_1 must be"),
        (["--set", "scale=2"], "use --scale"),
        (["--scale", "0"], "scale must be"),
        (["--seed", "-1"], "seed must lie"),
    ],
)
def test_bad_settings_are_one_line_and_leave_nothing_behind(
    photos, tmp_path, capsys, options, message
):
    assert export(photos, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_whole_number_is_as_good_as_a_fraction(photos, tmp_path):
    assert export(photos / "a.png", tmp_path / "out", "--set", "identity_probability=1") == 0
    assert export(photos / "a.png", tmp_path / "out", "--set", "identity_probability=1.0") == 0


def test_a_preview_that_cannot_be_written_says_so(photos, capsys):
    assert (
        main(
            [
                "degrade",
                "preview",
                str(photos / "a.png"),
                "--n",
                "1",
                "--out",
                str(photos / "b.jpg" / "x.png"),
            ]
        )
        == 2
    )
    assert capsys.readouterr().err.count("\n") == 1


def test_the_preview_names_its_file_after_photograph_and_preset(
    photos, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert (
        main(
            [
                "degrade",
                "preview",
                str(photos / "b.jpg"),
                "--preset",
                "stablesr",
                "--n",
                "3",
                "--crop",
                "32",
            ]
        )
        == 0
    )
    assert capsys.readouterr().out == "b-stablesr.png\n"
    assert Image.open("b-stablesr.png").size[0] > 2 * 192
    assert (
        main(
            [
                "degrade",
                "preview",
                str(photos / "b.jpg"),
                "--n",
                "1",
                "--crop",
                "0",
                "--scale",
                "3",
                "--out",
                "x/y.png",
            ]
        )
        == 0
    )
    assert (tmp_path / "x" / "y.png").is_file()


@pytest.mark.parametrize(
    "options", [["--n", "0"], ["--crop", "3"], ["--crop", "-1"], ["--out", "a.jpg"]]
)
def test_bad_previews_are_bad_usage(photos, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    assert main(["degrade", "preview", str(photos / "a.png"), *options]) == 2


def test_a_preview_never_replaces_its_photograph(photos):
    before = (photos / "a.png").read_bytes()
    assert main(["degrade", "preview", str(photos / "a.png"), "--out", str(photos / "a.png")]) == 2
    assert (photos / "a.png").read_bytes() == before
