"""`lsr push`: the folder that is pushed, its model card, and the way back by the name."""

import json
import shutil

import pytest
import torch
import yaml
from huggingface_hub import CommitOperationDelete, HfApi, RepoCard, hf_api
from PIL import Image

from lsr.cli import main
from lsr.export.shareable import shareable
from lsr.files import sha256_of
from lsr.inference.upscaler import Upscaler
from lsr.models.checkpoint import model_config, read_model, save_denoiser

HOME = "/home/ann/secret-project"


@pytest.fixture
def run(tmp_path, denoiser):
    """Return the folder of a run with a knee, figures and pictures, on the machine of Ann."""
    run = tmp_path / "runs" / "stage1"
    for folder in ("knee", "images", "eval"):
        (run / folder).mkdir(parents=True)
    seed = run / "knee" / "seed.safetensors"
    save_denoiser(seed, denoiser.state_dict(), model_config(denoiser, 3.0))
    knee = {"step": 3300, "reason": "the plateau has lasted", "metrics": {"val/psnr_y": 23.5}}
    (run / "knee" / "knee.json").write_text(json.dumps(knee | {"sha256": sha256_of(seed)}))
    settings = {
        "data": {
            "class_path": "datamodules.RealESRGANDataModule",
            "init_args": {"train": [f"{HOME}/photos/kitchen"], "degradation": "pasd"},
        },
        "trainer": {
            "default_root_dir": f"{HOME}/runs/stage1",
            "logger": [{"class_path": "mine.Logger", "init_args": {"api_key": "0123456789"}}],
        },
    }
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    for name in ("knee/knee.png", "images/step-0003300.png", "eval/contact.png"):
        Image.new("RGB", (4, 4)).save(run / name)
    Image.new("RGB", (4, 4), "red").save(run / "images" / "step-0005000.png")  # after the knee
    summary = {
        "source": f"Evaluation of {HOME}/model.safetensors",
        "command": f"lsr eval --model {HOME}/model.safetensors",
        "data": f"{HOME}/pairs/",
        "protocol": "custom",
        "images": {"found": 2, "scored": 2},
        "results": {"niqe": {"mean": 5.25, "std": 1.0, "ci95": [4.5, 6.0], "n": 2}},
        "metrics": {
            "niqe": {
                "pyiqa_name": "niqe",
                "direction": "lower is better",
                "range": "0 and up",
                "looks_at": "Y of YIQ",
            }
        },
        "model": {"sha256": sha256_of(seed), "steps": 1, "seed": 0, "color_fix": "adain"},
    }
    (run / "eval" / "summary.json").write_text(json.dumps(summary))
    return run


def push(run, folder, *more):
    return main(
        ["push", str(run), "ann/kitchen", "--licence", "cc-by-4.0", "--dry-run", str(folder), *more]
    )


def test_the_folder_has_the_model_and_all_that_its_run_has_recorded(run, tmp_path):
    assert push(run, tmp_path / "out") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    documents = {"README.md", "config.yaml", "knee.json", "eval.json"}
    assert names == documents | {"model.safetensors", "validation.png", "knee.png", "eval.png"}
    knee = json.loads((tmp_path / "out" / "knee.json").read_text())
    assert sha256_of(tmp_path / "out" / "model.safetensors") == knee["sha256"]


def test_the_card_is_made_from_the_records(run, tmp_path):
    push(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "cc-by-4.0"
    for stated in (
        "| training photographs | `kitchen` |",
        "| degradation | `pasd` |",
        "| niqe | lower is better | 5.2500 | 4.5000 to 6.0000 | 2 |",
        "The training has its knee at step 3,300: the plateau has lasted",
        "weights here are from `seed.safetensors`",
        'from_pretrained("ann/kitchen")',
        "![The worst, the median and the best photograph of the evaluation](eval.png)",
    ):
        assert stated in card
    for picture in ("validation.png", "knee.png", "eval.png"):
        assert f"({picture})" in card and (tmp_path / "out" / picture).is_file()


def test_pictures_show_the_weights_that_are_pushed(run, tmp_path):
    """The knee has the picture of its step; the last checkpoint has the last one."""
    checkpoint = run / "exported.safetensors"
    shutil.copy(run / "knee" / "seed.safetensors", checkpoint)
    for model, step in ((run, 3300), (checkpoint, 5000)):
        out = tmp_path / str(step)
        push(model, out)
        taken = run / "images" / f"step-{step:07d}.png"
        assert (out / "validation.png").read_bytes() == taken.read_bytes()
        card = (out / "README.md").read_text()
        assert f"result, original, at step {step:,} of the training" in card
    (run / "images" / "step-0003300.png").unlink()
    push(run, tmp_path / "none")
    assert not (tmp_path / "none" / "validation.png").exists()


def test_nothing_of_the_machine_or_its_secrets_is_pushed(run, tmp_path):
    push(run, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        for private in (
            b"/home",
            b"ann/s",
            b"secret-project",
            b"0123456789",
            str(tmp_path).encode(),
        ):
            assert private not in path.read_bytes(), f"{path.name} tells {private}"
    assert "kitchen" in (tmp_path / "out" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/home/ann/my photos/train", "train"),
        ("/home/ann/photos/", "photos"),
        ("~/photos/train", "train"),
        (r"C:\Users\ann\photos", "photos"),
        ("wds:/home/ann/shards", "wds:shards"),
        ("file:///home/ann/shards", "shards"),
        ("https://hub.example/a/b", "https://hub.example/a/b"),
        ("https://ann:word@hub.example/a", "https://hub.example/a"),
        ("runs/tiny/stage1", "runs/tiny/stage1"),
        ("bundled:train", "bundled:train"),
        ("and/or", "and/or"),
        ("mean / error of a/b", "mean / error of a/b"),
    ],
)
def test_of_an_absolute_path_the_last_part_stays(text, kept):
    assert shareable({"at": [text]}) == {"at": [kept]}


@pytest.mark.parametrize("value", ["0123", 123456, ["ann", "word"], {"user": "ann"}])
@pytest.mark.parametrize("key", ["token", "hf-token", "db.password", "secret_key", "auth"])
def test_the_value_of_a_secret_is_removed_whatever_it_is(key, value):
    assert shareable({"at": {key: value, "tokens": 5}}) == {"at": {key: "(removed)", "tokens": 5}}
    assert shareable({key: None}) == {key: None}


def test_a_user_without_a_home_loses_no_names(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert shareable({"val/psnr": "runs/tiny"}) == {"val/psnr": "runs/tiny"}


def test_an_autoencoder_on_this_machine_is_named_without_its_folder(run, denoiser, tmp_path):
    path = tmp_path / "model.safetensors"
    config = model_config(denoiser, 3.0) | {"guidance": "text", "guidance_encoder": f"{HOME}/gemma"}
    save_denoiser(path, denoiser.state_dict(), config)
    assert push(path, tmp_path / "out") == 0
    assert read_model(tmp_path / "out" / "model.safetensors").config.guidance_encoder == "gemma"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "It needs `gemma`" in card and "training data are unknown" in card


def test_a_checkpoint_becomes_a_file_with_averaged_weights(tmp_path, denoiser):
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    state = {f"denoiser.{name}": weight for name, weight in denoiser.state_dict().items()}
    averaged = {name: 2 * weight for name, weight in state.items()}
    content = {"state_dict": state, "ema_state_dict": averaged}
    torch.save(content | {"model_config": model_config(denoiser, 3.0)}, checkpoint)
    assert push(tmp_path / "run", tmp_path / "out") == 0
    weights = read_model(tmp_path / "out" / "model.safetensors").weights
    assert all(
        torch.equal(weights[name], 2 * weight) for name, weight in denoiser.state_dict().items()
    )
    assert "None: the run has no results" in (tmp_path / "out" / "README.md").read_text()


def test_figures_of_another_model_are_not_pushed(run, tmp_path, denoiser, capsys):
    other = tmp_path / "other.safetensors"
    save_denoiser(other, denoiser.state_dict(), model_config(denoiser, 1.0))
    assert push(other, tmp_path / "out", "--eval", str(run / "eval")) == 2
    assert "has no figures of" in capsys.readouterr().err
    summary = json.loads((run / "eval" / "summary.json").read_text())
    summary["model"]["sha256"] = sha256_of(other)
    (run / "eval" / "summary.json").write_text(json.dumps(summary))
    assert push(run, tmp_path / "out") == 0
    assert not (tmp_path / "out" / "eval.json").exists()


def test_a_pushed_model_is_read_back_by_its_name(run, tmp_path, photo, monkeypatch):
    """The model is read from the cache of the hub without network; the test builds such a cache."""
    import huggingface_hub.constants

    repository = tmp_path / "cache" / "models--ann--kitchen"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    push(run, tmp_path / "out")
    shutil.copytree(tmp_path / "out", repository / "snapshots" / ("0" * 40))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    expected = Upscaler.from_pretrained(run / "knee" / "seed.safetensors").upscale(photo[:8, :8])
    assert (Upscaler.from_pretrained("ann/kitchen").upscale(photo[:8, :8]) == expected).all()


def test_records_of_the_model_before_are_deleted_and_other_files_stay(run, monkeypatch):
    """Only the requests to the hub are replaced: what is deleted there is decided before them."""
    there = ["README.md", "eval.json", "eval.png", "knee.json", "notes.md", ".gitattributes"]
    commits = []
    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: "https://hub.example/ann/kitchen")
    monkeypatch.setattr(HfApi, "list_repo_files", lambda *_, **__: there)
    monkeypatch.setattr(HfApi, "create_commit", lambda _, **commit: commits.append(commit))
    monkeypatch.setattr(HfApi, "_validate_yaml", lambda *_, **__: None)
    monkeypatch.setattr(RepoCard, "validate", lambda *_: None)
    monkeypatch.setattr(hf_api, "is_xet_available", lambda: False)
    shutil.rmtree(run / "eval")
    assert main(["push", str(run), "ann/kitchen", "--licence", "mit"]) == 0
    operations = commits[0]["operations"]
    deleted = {each.path_in_repo for each in operations if type(each) is CommitOperationDelete}
    assert deleted == {"eval.json", "eval.png"}


def test_a_card_that_the_hub_refuses_leaves_no_empty_repository(run, monkeypatch, capsys):
    """Only the requests to the hub are replaced; it answers as it does for such a licence."""
    created = []

    def refuse(*_, **__):
        raise ValueError('"license" must be one of [apache-2.0, mit]')

    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: created.append("ann/kitchen"))
    monkeypatch.setattr(RepoCard, "validate", refuse)
    monkeypatch.setattr(HfApi, "_validate_yaml", refuse)
    assert main(["push", str(run), "ann/kitchen", "--licence", "mine"]) == 2
    assert '"license" must be one of' in capsys.readouterr().err and created == []


@pytest.mark.parametrize(
    ("repository", "options", "reason"),
    [
        ("kitchen", ["--licence", "mit"], "is no name on the hub"),
        ("ann/kitchen", ["--licence", "all mine: yes"], "name it as the hub does"),
        ("ann/kitchen", ["--licence", "mit"], "the hub did not take it"),
        ("ann/kitchen", ["--licence", "mit", "--dry-run", "."], "is not an empty folder"),
        ("ann/kitchen", ["--licence", "mit", "--dry-run", "file"], "is not a folder"),
        ("ann/kitchen", ["--licence", "mit", "--dry-run", "file/a"], "cannot be created"),
    ],
)
def test_what_cannot_be_pushed_is_one_line(
    run, repository, options, reason, tmp_path, capsys, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(run), repository, *options]) == 2
    message = capsys.readouterr().err
    assert reason in message and message.count("\n") == 1


def test_what_fails_leaves_no_half_of_a_folder(run, tmp_path):
    (run / "config.yaml").write_text("- no settings\n- of a run\n")
    assert push(run, tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


def test_the_licence_is_asked_for(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["push", str(run), "ann/kitchen", "--dry-run", str(tmp_path / "out")])
    message = capsys.readouterr().err
    assert end.value.code == 2 and "--licence" in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()
