"""The methods that `--beside` names, and the images that they need."""

import shutil

import pytest
from support.evaluation_results import summary

from lsr.evaluation.data import find_items, predicted_items


def test_photographs_are_read_once_for_all_methods(data, tmp_path):
    shutil.copytree(data / "HR", data / "theirs")
    alone = find_items(data, None, data / "theirs", tmp_path / "out")
    ours = find_items(data, None, data / "bicubic", tmp_path / "out")
    shutil.rmtree(data / "LR")
    shutil.rmtree(data / "HR")
    assert predicted_items(ours, data / "theirs") == alone
    assert not {item.inputs for item in alone} & {item.inputs for item in ours}


def test_results_without_a_photograph_are_counted(data, tmp_path, caplog):
    for name in ("7.png", "8.png"):
        shutil.copy(data / "bicubic" / "1.png", data / "bicubic" / name)
    assert len(find_items(data, None, data / "bicubic", tmp_path / "out")) == 6
    first = data / "bicubic" / "7.png"
    assert f"results without a photograph of their name: 2 left out, such as {first}" in caplog.text


def test_a_damaged_lr_photograph_that_only_upsampling_reads_is_named(evaluate, data):
    (data / "LR" / "2.png").write_bytes(b"")
    _, out, err = evaluate("--data", data / "LR", "--beside", "lanczos")
    assert summary(out)["images"]["scored"] == 6
    assert "failed: 2, method lanczos: " in err and "LR/2.png: the file is empty" in err


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("spline", "'spline' is neither bicubic nor lanczos nor a folder"),
        ("bicubic,,lanczos", "'' is neither"),
        ("nowhere/results", "'nowhere/results' is neither"),
        ("/", "'/' has no name"),
        ("bicubic,{data}/bicubic", "two methods are called 'bicubic'"),
        ("{data}/others", "none of its files has the name of one of the 6 LR photographs"),
    ],
)
def test_methods_that_are_not_there_are_bad_usage(evaluate, data, methods, message):
    (data / "others").mkdir()
    shutil.copy(data / "HR" / "0.png", data / "others" / "portrait.png")
    code, out, err = evaluate("--beside", methods.format(data=data))
    assert code == 2 and message in err and err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("ending", ["_out", "_SwinIR", "-sr"])
def test_results_whose_names_have_an_ending_are_found(evaluate, data, ending):
    for path in (data / "bicubic").iterdir():
        path.rename(path.with_stem(path.stem + ending))
    (data / "bicubic" / f"0{ending}.png").unlink()
    assert evaluate()[0] == 1, "one photograph lacks its result"
    rows = (data.parent / "out" / "per_image.csv").read_text().splitlines()
    assert len(rows) == 6 and all(row.count(",") == 5 for row in rows)


def test_results_with_several_endings_are_refused(evaluate, data):
    for number, path in enumerate(sorted((data / "bicubic").iterdir())):
        path.rename(path.with_stem(f"{path.stem}_{number}"))
    code, _, said = evaluate()
    assert code == 2 and "name the results like the photographs" in said


def test_what_is_no_folder_is_refused_before_anything_is_written(evaluate, tmp_path):
    (tmp_path / "file").touch()
    for name, reason in (("nowhere", "no such folder"), ("file", "not a folder")):
        code, out, said = evaluate("--data", tmp_path / name, source=())
        assert code == 2 and f"--data {tmp_path / name}: {reason}" in said
        assert not out.exists()
