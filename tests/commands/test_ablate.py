import csv
import signal

import pytest
import yaml
from PIL import Image
from support.processes import TINY_STAGE1
from support.small_run import smallest_stage1

from lsr import cli
from lsr.commands.ablate import main
from lsr.errors import interrupt
from lsr.training.ablation import metrics_of_table
from lsr.training.module import LinearSRModule
from lsr.training.variants import variants


def experiment(path, width, logged=False):
    config = smallest_stage1(width)
    config["trainer"] |= {"max_steps": 2, "val_check_interval": 2, "num_sanity_val_steps": 0}
    config["trainer"]["logger"] = logged and config["trainer"]["logger"]
    kept = ("EMA", "LastCheckpoint", "DivergenceGuard", "KneePointCallback")
    config["trainer"]["callbacks"] = [
        each for each in config["trainer"]["callbacks"] if each["class_path"].endswith(kept)
    ]
    knee = next(
        each
        for each in config["trainer"]["callbacks"]
        if each["class_path"].endswith("KneePointCallback")
    )
    knee["init_args"]["metrics"] = {"val/psnr_y": "max"}
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(config))


def test_every_experiment_is_trained_for_every_seed_and_judged_alike(tmp_path, capsys):
    experiment(tmp_path / "files" / "narrow.yaml", 32)
    experiment(tmp_path / "files" / "wide.yaml", 64)
    arguments = [
        tmp_path / "files",
        "--out",
        tmp_path / "out",
        "--seeds",
        "1",
        "2",
        "--steps",
        "1",
        "3",
        "--metrics",
        "psnr_y",
    ]
    assert main(["ablate", *map(str, arguments)]) == 0
    said = capsys.readouterr()
    assert [line for line in said.err.splitlines() if line.startswith("evaluating ")] == [
        "evaluating narrow, seed 1",
        "evaluating wide, seed 1",
        "evaluating narrow, seed 2",
        "evaluating wide, seed 2",
    ]
    lines = [line for line in said.out.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| narrow",
        "| wide",
    ] and "psnr_y, 3 steps" in lines[0]
    runs = list(csv.DictReader((tmp_path / "out" / "runs.csv").open()))
    assert [run["model"] for run in runs] == ["narrow", "wide", "narrow", "wide"]
    assert len({run["loss, t 0.223-0.875"] for run in runs}) == 4 and float(
        runs[1]["active, M"]
    ) > float(runs[0]["active, M"])
    checkpoint = tmp_path / "out" / "wide" / "seed2" / "checkpoints" / "last.ckpt"
    before = checkpoint.read_bytes()
    reference = ["--reference", tmp_path / "files" / "wide.yaml", checkpoint]
    assert main(["ablate", *map(str, (*arguments, *reference))]) == 0
    again = list(csv.DictReader((tmp_path / "out" / "runs.csv").open()))
    assert checkpoint.read_bytes() == before, "what was trained is not trained again"
    timed = "ms per image, 5 steps"
    assert again[0].pop("model") == "reference"
    assert {key: value for key, value in again[0].items() if key != timed} == {
        key: value for key, value in runs[3].items() if key not in ("model", timed)
    }


def test_one_experiment_is_varied_and_a_run_that_diverges_is_told(tmp_path):
    experiment(tmp_path / "one.yaml", 32, logged=True)
    vary = [
        "--vary",
        "model.optimizer.lr=[1e-3, 1e6]",
        "--vary",
        "model.denoiser.depth=[1, 2]",
        "--seeds",
        "1",
    ]
    arguments = [
        str(tmp_path / "one.yaml"),
        "--out",
        str(tmp_path / "out"),
        *vary,
        "--steps",
        "1",
        "--metrics",
        "psnr_y",
    ]
    settings = [
        "--trainer.max_steps",
        "40",
        "--trainer.val_check_interval",
        "40",
        "--model.optimizer.warmup_steps",
        "1",
    ]
    for _ in range(2):  # the second time all runs are there
        assert main(["ablate", *arguments, *settings]) == 0
        runs = {run["model"]: run for run in csv.DictReader((tmp_path / "out" / "runs.csv").open())}
        assert list(runs) == [
            "lr=1e-3 depth=1",
            "lr=1e-3 depth=2",
            "lr=1e6 depth=1",
            "lr=1e6 depth=2",
        ]
        assert float(runs["lr=1e-3 depth=2"]["active, M"]) > float(
            runs["lr=1e-3 depth=1"]["active, M"]
        ), "depth was varied"
        assert (
            float(runs["lr=1e-3 depth=1"]["psnr_y, 1 steps"]) > 0
            and not runs["lr=1e-3 depth=1"]["diverged at step"]
        )
        assert (
            0 <= int(runs["lr=1e6 depth=1"]["diverged at step"]) < 40
            and not runs["lr=1e6 depth=1"]["psnr_y, 1 steps"]
        )

    with Image.open(tmp_path / "out" / "curves.png") as curves:
        assert (0, 0x72, 0xB2) in {colour[:3] for _, colour in curves.getcolors(1 << 20)}, (
            "the first variant is drawn"
        )


def test_sigterm_after_the_last_step_of_a_variant_ends_the_command(tmp_path):
    experiment(tmp_path / "one.yaml", 32)
    arguments = [tmp_path / "one.yaml", "--out", tmp_path / "out", "--seeds", "1", "2"]
    more = "--trainer.callbacks+=support.terminated.TerminatedAfterTheLastStep"
    before = signal.signal(signal.SIGTERM, interrupt)  # as in the program `lsr`
    try:
        assert cli.main(["ablate", *map(str, arguments), more]) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [path.name for path in (tmp_path / "out" / "one").iterdir()] == ["seed1"]
    assert (tmp_path / "out" / "one" / "seed1" / "checkpoints" / "last.ckpt").is_file()


def test_what_is_varied_names_the_row():
    starts = ["runs/photos/stage1/knee", "runs/photos/stage1/last.safetensors"]
    found = variants(
        TINY_STAGE1,
        [f"model.experts.seed={starts}", "model.experts.boundaries=[published, [0.875], []]"],
        ["--trainer.max_steps", "9"],
    )
    assert [variant.name for variant in found][:4] == [
        "seed=knee boundaries=published",
        "seed=knee boundaries=[0.875]",
        "seed=knee boundaries=[]",
        "seed=last boundaries=published",
    ]
    changed = (f"--model.experts.seed={starts[0]}", "--model.experts.boundaries=[0.875]")
    assert found[1].settings == ("--trainer.max_steps", "9", *changed)


def test_several_experiments_can_be_varied_alike(tmp_path):
    for name in ("narrow", "wide"):
        experiment(tmp_path / "files" / f"{name}.yaml", 32)
    found = variants(tmp_path / "files", ["model.optimizer.lr=[1e-3, -1e-3]"], [])
    assert [variant.name for variant in found] == [
        "narrow lr=1e-3",
        "narrow lr=-1e-3",
        "wide lr=1e-3",
        "wide lr=-1e-3",
    ]


def test_a_run_of_other_settings_is_not_taken_for_this_one(tmp_path, capsys):
    experiment(tmp_path / "files" / "narrow.yaml", 32)
    arguments = [
        str(tmp_path / "files"),
        "--out",
        str(tmp_path / "out"),
        "--steps",
        "1",
        "--metrics",
        "psnr_y",
    ]
    assert main(["ablate", *arguments]) == 0
    assert main(["ablate", *arguments, "--model.optimizer.lr", "1e-5"]) == 1
    assert "holds a run of another experiment or of other settings (" in capsys.readouterr().out


def test_ctrl_c_while_a_variant_is_evaluated_interrupts_the_command(tmp_path, monkeypatch, capsys):
    experiment(tmp_path / "one.yaml", 32)
    step = LinearSRModule.validation_step

    def interrupted(module, *arguments):
        if module.trainer.state.fn == "validate":
            raise KeyboardInterrupt
        return step(module, *arguments)

    monkeypatch.setattr(LinearSRModule, "validation_step", interrupted)
    arguments = [str(tmp_path / "one.yaml"), "--out", str(tmp_path / "out")]
    assert cli.main(["ablate", *arguments, "--metrics", "psnr_y"]) == 130
    assert capsys.readouterr().err.count("lsr ablate: interrupted") == 1


@pytest.mark.parametrize(
    "text",
    [
        "model.optimizer.lr",
        "model.optimizer.lr=1e-3",
        "model.optimizer.lr=[]",
        "model.optimizer.lr=[1",
    ],
)
def test_a_setting_without_a_list_of_values_is_refused(text):
    with pytest.raises(ValueError, match="must be a setting and a YAML list of its values"):
        variants(TINY_STAGE1, [text], [])


def test_rows_that_could_not_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="the same name"):
        variants(TINY_STAGE1, ["model.experts.seed=[a/knee, b/knee]"], [])
    with pytest.raises(ValueError, match="the same name"):
        variants(TINY_STAGE1, ["data.init_args.tags_file=['a b', 'a_b']"], [])


def test_a_folder_without_experiments_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no experiments in this folder"):
        main(["ablate", str(tmp_path), "--out", str(tmp_path / "out")])


def test_a_missing_reference_is_told_before_anything_is_trained(tmp_path):
    experiment(tmp_path / "files" / "narrow.yaml", 32)
    arguments = [
        tmp_path / "files",
        "--out",
        tmp_path / "out",
        "--reference",
        tmp_path / "files" / "narrow.yaml",
        tmp_path / "knee",
    ]
    with pytest.raises(ValueError, match="--reference .*knee: no such file"):
        main(["ablate", *map(str, arguments)])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--metrics", "psnr_y", "foo"],
            "no metric foo: there are loss, psnr_y, psnr_y_bicubic",
        ),
        (["--vary", "model.lr=[1]"], "{}: unrecognized arguments: --model.lr=1"),
        (
            ["--vary", "model.optimizer.lr=[1e-3, fast]"],
            "{}: model.optimizer.lr: must be a number, not fast",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line_before_anything_is_trained(
    tmp_path, capfd, options, message
):
    experiment(tmp_path / "one.yaml", 32)
    arguments = ["ablate", str(tmp_path / "one.yaml"), "--out", str(tmp_path / "out")]
    assert cli.main([*arguments, *options]) == 2
    assert capfd.readouterr().err == f"lsr ablate: {message.format(tmp_path / 'one.yaml')}\n"
    assert not (tmp_path / "out").exists()


def test_a_metric_needs_one_variant_that_has_it():
    plain = variants(TINY_STAGE1, [], [])
    guided = variants(
        TINY_STAGE1, [], ["--model.denoiser.guidance=tags", "--model.denoiser.context_dim=8"]
    )
    experts = variants(
        TINY_STAGE1, [], ["--model.experts.seed=knee", "--model.experts.boundaries=[0.5]"]
    )
    wanted = ["loss_other_context", "loss_expert_1", "val_real/niqe", "psnr_y"]
    assert metrics_of_table([*plain, *guided, *experts], wanted) == wanted
    for chosen, metric in ((plain, wanted[0]), (guided, wanted[1]), (experts, "loss_expert_2")):
        with pytest.raises(ValueError, match=f"no metric {metric}: there are .*loss, "):
            metrics_of_table(chosen, [metric])


def test_by_default_the_table_has_the_metrics_that_experiments_have(tmp_path):
    experiment(tmp_path / "narrow.yaml", 32)
    narrow = variants(tmp_path / "narrow.yaml", [], [])
    assert metrics_of_table(narrow, None) == ["psnr_y"]
    assert metrics_of_table([*narrow, *variants(TINY_STAGE1, [], [])], None) == [
        "psnr_y",
        "ssim_y",
        "niqe",
    ]
    others = variants(tmp_path / "narrow.yaml", [], ["--model.val_metrics=[lpips]"])
    with pytest.raises(ValueError, match="no metric psnr_y: there are loss, lpips, "):
        metrics_of_table(others, None)
