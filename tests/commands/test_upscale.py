"""`lsr upscale` on real files of many kinds, with a small random model."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from lsr.cli import main
from lsr.images import Photograph, probe, read_photograph, write_png
from lsr.inference.upscaler import Upscaler


@pytest.fixture
def inbox(tmp_path, photo):
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    small = photo[:20, :30]
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(small).save(folder / "colour.jpg", icc_profile=icc)
    Image.fromarray(small).convert("L").save(folder / "deeper" / "grey.png")
    Image.fromarray(np.dstack([small, small[..., 0]])).save(folder / "rgba.png")
    write_png(folder / "sixteen.png", Photograph(small.astype(np.float32) / 255, bits=16))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(small).save(folder / "turned.png", exif=exif)
    Image.fromarray(small[:1, :1]).save(folder / "dot.png")
    Image.fromarray(np.tile(small[:2], (1, 100, 1))).save(folder / "line.webp")
    return folder


def test_every_kind_of_photograph_comes_out_four_times_as_large(model, inbox, tmp_path, capsys):
    assert main(["upscale", str(inbox), "--out", str(tmp_path / "out"), "--model", str(model)]) == 0
    for source in sorted(inbox.rglob("*.*")):
        before = read_photograph(source)
        after = read_photograph((tmp_path / "out" / source.relative_to(inbox)).with_suffix(".png"))
        assert after.pixels.shape == (4 * before.pixels.shape[0], 4 * before.pixels.shape[1], 3), (
            source
        )
        assert (after.bits, after.grey, after.icc, after.alpha is None) == (
            before.bits,
            before.grey,
            before.icc,
            before.alpha is None,
        )
    sixteen = read_photograph(tmp_path / "out" / "sixteen.png").pixels * 255
    assert np.abs(sixteen - np.rint(sixteen)).max() > 0.1, "16 bit output must not be 8 bit values"
    assert "7 of 7" in capsys.readouterr().out


def test_bad_files_are_named_and_the_rest_is_done(model, inbox, tmp_path, capsys):
    data = (inbox / "colour.jpg").read_bytes()
    (inbox / "torn.jpg").write_bytes(data[: len(data) // 2])
    (inbox / "text.png").write_text("I am not a picture")
    (inbox / "empty.png").write_bytes(b"")
    assert main(["upscale", str(inbox), "--out", str(tmp_path / "out"), "--model", str(model)]) == 1
    out = capsys.readouterr()
    assert "7 of 10" in out.out
    failures = [line for line in out.err.splitlines() if line.startswith("failed:")]
    assert sorted(line.split("/")[-1].split(":")[0] for line in failures) == [
        "empty.png",
        "text.png",
        "torn.jpg",
    ]
    assert len(list((tmp_path / "out").rglob("*.png"))) == 7 and not list(
        (tmp_path / "out").rglob(".*")
    )


def test_same_seed_same_picture(model, inbox, tmp_path):
    def upscaled(*options):
        command = ["upscale", str(inbox / "colour.jpg"), "--out", str(tmp_path / "o")]
        assert main([*command, "--model", str(model), "--steps", "2", *options]) == 0
        return (tmp_path / "o" / "colour.png").read_bytes()

    assert upscaled("--seed", "3") == upscaled("--seed", "3") != upscaled("--seed", "4")


def test_alpha_does_not_touch_the_colour(model, inbox):
    upscaler = Upscaler.from_pretrained(model)
    rgba = read_photograph(inbox / "rgba.png")
    opaque = Photograph(rgba.pixels)
    assert np.array_equal(upscaler.upscale(rgba).pixels, upscaler.upscale(opaque).pixels)
    half = Photograph(rgba.pixels, alpha=np.full(rgba.pixels.shape[:2], 0.5, np.float32))
    alpha = upscaler.upscale(half).alpha
    assert alpha is not None and np.allclose(alpha, 0.5, atol=1e-6)


def test_a_name_that_two_inputs_share_stays_apart(model, inbox, tmp_path):
    (inbox / "colour.png").write_bytes((inbox / "rgba.png").read_bytes())
    assert main(["upscale", str(inbox), "--out", str(tmp_path / "out"), "--model", str(model)]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"colour.jpg.png", "colour.png.png"} <= names and "colour.png" not in names


def test_an_input_is_never_overwritten(model, inbox, capsys):
    before = (inbox / "rgba.png").read_bytes()
    command = ["upscale", str(inbox / "rgba.png"), "--out", str(inbox), "--model", str(model)]
    assert main(command) == 2
    assert "would lie in the folder of the original" in capsys.readouterr().err
    assert (inbox / "rgba.png").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "0"], "the scale must be a number above 0"),
        (["--tile", "32"], "not cut into tiles any more; to bound the memory, use --memory"),
        (["--memory", "much"], "'much' is no size such as 2GiB or 500MB"),
        (["--color-fix", "sepia"], "must be one of none, adain, wavelet"),
        (["--quality", "0"], "--quality must be from 1 to 100"),
        (
            ["--steps", "0"],
            "sampling steps (num_inference_steps, --steps) must be at least 1, not 0",
        ),
        (["--seed", "-1"], "seed must be from 0 to 2^31 - 1, not -1"),
    ],
)
def test_bad_options_are_bad_usage(model, inbox, tmp_path, capsys, options, message):
    command = ["upscale", str(inbox), "--out", str(tmp_path / "out"), "--model", str(model)]
    assert main(command + options) == 2
    assert message in capsys.readouterr().err


def test_results_cannot_go_into_a_file_nor_come_from_a_folder_of_models(
    model, inbox, tmp_path, capsys
):
    assert main(["upscale", str(inbox), "--out", str(model), "--model", str(model)]) == 2
    assert "is not a folder: choose another path" in capsys.readouterr().err
    assert main(["upscale", str(inbox), "--out", str(model / "out"), "--model", "nowhere"]) == 2
    assert (
        capsys.readouterr().err
        == f"lsr upscale: --out {model / 'out'} cannot be created: Not a directory\n"
    ), "before the model"
    assert main(["upscale", str(inbox), "--out", str(tmp_path / "out"), "--model", str(inbox)]) == 2
    assert "should hold one model file" in capsys.readouterr().err


def test_results_below_the_source_are_not_upscaled_again(model, inbox, capsys):
    for _ in range(2):
        assert main(["upscale", str(inbox), "--out", str(inbox / "up"), "--model", str(model)]) == 0
        assert "7 of 7" in capsys.readouterr().out


def test_pairs_without_lr_photographs_are_bad_usage(model, photo, tmp_path, capsys):
    for name in ("HR", "LR"):
        (tmp_path / "set" / name).mkdir(parents=True)
    Image.fromarray(photo[:16, :16]).save(tmp_path / "set" / "HR" / "a.png")
    arguments = [str(tmp_path / "set"), "--model", str(model), "--out", str(tmp_path / "out")]
    assert main(["upscale", *arguments]) == 2
    assert "set holds HR photographs of pairs, but no LR photographs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_photograph_that_is_named_counts_whatever_its_folder_is(model, photo, tmp_path, capsys):
    for name in ("set/HR/a.png", "set/LR/b.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.fromarray(photo[:16, :16]).save(tmp_path / name)
    sources = [tmp_path / name for name in ("set", "set/HR/a.png", "set/LR/b.png", "set/HR/a.png")]
    out = tmp_path / "out"
    command = ["upscale", *map(str, sources), "--model", str(model), "--out", str(out)]
    assert main(command) == 0
    assert "3 of 3 images" in capsys.readouterr().out
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert made == ["LR/b.png", "a.png", "b.png"]


def test_an_empty_folder_is_bad_usage(model, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    command = ["upscale", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]
    assert main([*command, "--model", str(model)]) == 2
    assert "no images in this folder" in capsys.readouterr().err


@pytest.fixture
def upscaled(model, inbox, tmp_path):
    """Return a function that upscales the inbox and returns the times of all written files."""

    def run(*options):
        command = ["upscale", str(inbox), "--out", str(tmp_path / "out"), "--model", str(model)]
        assert main([*command, *options]) == 0
        return {
            path.name: path.stat().st_mtime_ns
            for path in (tmp_path / "out").rglob("*.*")
            if path.name != "upscaled.jsonl"
        }

    return run


def test_what_is_done_with_the_same_options_is_not_done_again(upscaled, inbox, tmp_path, capsys):
    first = upscaled()
    assert upscaled() == first and "7 of them by an earlier run" in capsys.readouterr().out
    (tmp_path / "out" / "rgba.png").unlink()
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(inbox / "colour.jpg")
    second = upscaled()
    assert {name for name in first if second[name] != first[name]} == {"rgba.png", "colour.png"}
    third = upscaled("--steps", "2")
    assert not set(third.values()) & set(second.values()), "other options make other pictures"


def test_a_record_that_was_torn_by_a_kill_costs_one_picture(upscaled, tmp_path):
    first = upscaled()
    record = tmp_path / "out" / "upscaled.jsonl"
    record.write_bytes(record.read_bytes()[:-20])
    second = upscaled()
    assert len({name for name in first if second[name] != first[name]}) == 1
    assert upscaled() == second


@pytest.mark.parametrize("scale", [0.5, 1, 1.7, 4, 5.3])
def test_any_scale_gives_exactly_the_size_it_says(upscaled, inbox, tmp_path, scale):
    upscaled("--scale", str(scale))
    for source in sorted(inbox.rglob("*.*")):
        width, height = probe(source)
        result = probe((tmp_path / "out" / source.relative_to(inbox)).with_suffix(".png"))
        assert result == (max(1, round(width * scale)), max(1, round(height * scale))), source


def test_formats_by_name_or_as_they_came(upscaled, model, inbox, tmp_path, capsys):
    assert set(upscaled("--format", "same")) == {path.name for path in inbox.rglob("*.*")}
    with Image.open(tmp_path / "out" / "line.webp") as image:
        assert image.format == "WEBP"
    assert {name.split(".")[1] for name in upscaled("--format", "tiff")} == {
        "jpg",
        "png",
        "webp",
        "tif",
    }
    sixteen = read_photograph(tmp_path / "out" / "sixteen.tif")
    assert sixteen.bits == 16
    command = ["upscale", str(inbox), "--out", str(tmp_path / "jpeg"), "--model", str(model)]
    assert main([*command, "--format", "jpeg"]) == 1, "one of them is transparent"
    errors = capsys.readouterr().err.splitlines()
    assert [line.split("in/")[1] for line in errors if line.startswith("failed")] == [
        "rgba.png: JPEG cannot store transparency: choose the format png, webp or tiff, or a "
        "colour behind it, such as --background white"
    ]
    assert any(
        "note:" in line and "sixteen.png: 16 bits per sample became 8" in line for line in errors
    )
    assert (tmp_path / "jpeg" / "sixteen.jpg").exists() and not (
        tmp_path / "jpeg" / "rgba.jpg"
    ).exists()


def test_folders_are_searched_no_deeper_than_asked(upscaled):
    assert "grey.png" not in upscaled("--no-recursive")


def test_a_photograph_beyond_the_budget_is_named_with_its_need_and_the_others_are_done(
    tmp_path, photo, capsys
):
    Image.fromarray(photo[:8, :8]).save(tmp_path / "small.png")
    Image.fromarray(np.tile(photo, (1, 40, 1))).save(tmp_path / "wide.png")
    out = tmp_path / "out"
    code = main(["upscale", str(tmp_path), "--out", str(out), "--memory", "40MB"])
    said = capsys.readouterr()
    assert code == 2 and (out / "small.png").exists() and not (out / "wide.png").exists()
    assert "wide.png: 5120x96 pixels need " in said.err and "the budget is 38 MiB" in said.err
    assert said.out == f"1 of 2 images are in {out}; 1 failed\n"
