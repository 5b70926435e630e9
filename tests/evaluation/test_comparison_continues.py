"""What a comparison keeps of an earlier run, and what its processes share."""

import os
import subprocess
import sys

from PIL import Image
from support.evaluation_results import summary
from support.patience import PATIENCE_S
from support.ports import free_port


def changed(folder, before):
    """Return the names of the files that were written again since `before`."""
    return {name for name, when in times(folder).items() if before[name] != when}


def times(folder):
    """Return the modification time of each file of a folder, by name."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_another_list_or_another_model_keeps_the_rows_of_the_methods(evaluate, model, data):
    _, out, _ = evaluate("--beside", "bicubic", source=("--model", model))
    pictures = times(out / "beside/bicubic/predictions")
    ours = times(out / "predictions")
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
    whole = (folder / "per_image.csv").read_bytes()
    lines = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
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
    command = [sys.executable, "-m", "lsr", "eval", "--model", model, "--data", data]
    command += ["--metrics", "psnr,ssim", "--threads", "1", "--beside", "bicubic", "--out", two]
    port = str(free_port())
    environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            command, env=os.environ | environment | {"RANK": rank}, stdout=subprocess.DEVNULL
        )
        for rank in "01"
    ]
    assert [process.wait(PATIENCE_S) for process in ranks] == [0, 0]
    assert summary(one)["beside"] == summary(two)["beside"]
    for figures in ("per_image.csv", "beside/bicubic/per_image.csv"):
        assert (one / figures).read_bytes() == (two / figures).read_bytes()
    assert not list(two.rglob("rows-*"))


def test_rows_of_another_method_of_the_same_name_are_not_taken(evaluate, data):
    _, out, _ = evaluate("--beside", "bicubic")
    code, _, err = evaluate("--beside", str(data / "bicubic"))
    assert code == 2 and "holds an evaluation that differs in upsampling" in err
