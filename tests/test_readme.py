"""The README's commands, run as they stand where that is quick, and checked as far as they can be where it is not."""

import math
import re
import shlex
import shutil
import subprocess
from dataclasses import asdict, replace

import pytest
from PIL import Image
from support.processes import ROOT
from support.published_ram import save_ram
from support.tiny_autoencoder import save_autoencoder

from lsr.cli import VERBS, main
from lsr.experts.run import EXPERT_RUN
from lsr.flow.snr import PUBLISHED
from lsr.models.checkpoint import MODEL_CONFIG, save_denoiser
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import ExpertMixture

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.split(" #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]


@pytest.fixture
def workplace(tmp_path, photo, denoiser, monkeypatch):
    """A folder in which the files that the README speaks of exist."""
    import torch

    for name in ("experiments", "Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo[:12, :16]).save(tmp_path / "photos" / "one.jpg")
    Image.fromarray(photo[:12, :16]).save(tmp_path / "photo.jpg")
    for folder, step in (("pairs/LR", 4), ("pairs/HR", 1), ("theirs", 1)):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(photo[:48:step, :64:step]).save(tmp_path / folder / "one.png")
    checkpoint = tmp_path / "runs" / "tiny" / "stage1" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    config = asdict(denoiser.config) | {"shift": 3.0}
    torch.save(
        {
            "state_dict": {f"denoiser.{k}": v for k, v in denoiser.state_dict().items()},
            MODEL_CONFIG: config,
        },
        checkpoint,
    )
    mixture = ExpertMixture(denoiser.config, (0.5,))
    grown = tmp_path / "runs" / "tiny" / "stage2" / "checkpoints" / "last.ckpt"
    grown.parent.mkdir(parents=True)
    state = {f"denoiser.{k}": v for k, v in mixture.state_dict().items()}
    torch.save({"state_dict": state, MODEL_CONFIG: config | {"boundaries": [0.5]}}, grown)
    four = ExpertMixture(denoiser.config, PUBLISHED)
    for i in range(4):
        alone = {
            "state_dict": {f"denoiser.{k}": v for k, v in four.state_dict().items()},
            "global_step": 100,
        }
        origin = {
            EXPERT_RUN: {"seed_sha256": "0" * 64, "expert": i},
            MODEL_CONFIG: config | {"boundaries": list(PUBLISHED)},
        }
        trained = tmp_path / "runs" / "tiny" / f"expert{i}" / "checkpoints" / "last.ckpt"
        trained.parent.mkdir(parents=True)
        torch.save(alone | origin, trained)
    rise = [
        f"{step},{20 + 5 * (1 - math.exp(-step / 400))},{0.9 - 0.3 * math.exp(-step / 400)},9"
        for step in range(50, 3000, 50)
    ]
    (tmp_path / "runs" / "tiny" / "stage1" / "metrics.csv").write_text(
        "\n".join(["step,val/psnr_y,val/ssim_y,val/niqe", *rise]) + "\n"
    )
    save_denoiser(tmp_path / "model.safetensors", denoiser.state_dict(), config)
    guided = Denoiser(replace(denoiser.config, guidance="tags", vocabulary=("cat", "fur")))
    save_denoiser(
        tmp_path / "guided.safetensors", guided.state_dict(), asdict(guided.config) | {"shift": 3.0}
    )
    save_ram(tmp_path / "weights", plus=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sana(workplace):
    """A small SANA where the README's commands look for the large one."""
    from diffusers.models.transformers.sana_transformer import SanaTransformer2DModel

    sizes = {
        "num_attention_heads": 1,
        "num_cross_attention_heads": 1,
        "cross_attention_head_dim": 32,
        "cross_attention_dim": 32,
    }
    SanaTransformer2DModel(**sizes, num_layers=1, caption_channels=8, qk_norm=None).save_pretrained(
        workplace / "weights" / "sana"
    )


@pytest.fixture
def tiny_instead(workplace):
    """What makes the experiments at the paper's size small: settings for the command line."""
    autoencoder = save_autoencoder(workplace / "autoencoder")
    denoiser = {"autoencoder": autoencoder, "latent_channels": 4, "latent_factor": 8}
    data = {"train": "['photos']", "crop_size": 8, "num_workers": 0}
    settings = {f"model.denoiser.{name}": value for name, value in denoiser.items()} | {
        f"data.{name}": value for name, value in data.items()
    }
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def test_the_two_commands_stand_in_the_first_screen():
    first = "\n".join(README.splitlines()[:40])
    assert "make demo" in first and "make test" in first


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, workplace, request, capsys):
    words = [
        word
        for word in shlex.split(command)
        if "=" not in word or word.startswith("-") or shlex.split(command)[0] == "make"
    ]
    words = words[1:] if words[0] in (".venv/bin/lsr",) else words
    if words[0] == "make":
        done = subprocess.run(
            ["make", "-n", *words[1:]], capture_output=True, text=True, cwd=workplace
        )
        assert done.returncode == 0, done.stderr
        return
    assert command.split()[0] in ("lsr", ".venv/bin/lsr", "git", "cd", "source"), (
        f"unknown kind of command: {command}"
    )
    if not command.startswith(("lsr", ".venv/bin/lsr")):
        return
    arguments = shlex.split(command)[1:]
    if arguments[0] == "convert":
        request.getfixturevalue("sana")
    if arguments[0] == "cache-latents":
        arguments += request.getfixturevalue("tiny_instead")
    if arguments[0] in ("fit", "validate", "test", "predict"):
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--print_config"])
        assert end.value.code in (0, None)
        return
    assert main(arguments) == 0, capsys.readouterr().err


def test_stage_2_trains_stage_1_only_where_there_is_no_knee(workplace):
    def planned(*arguments):
        done = subprocess.run(
            ["make", "-n", "stage2", *arguments], capture_output=True, text=True, cwd=workplace
        )
        assert done.returncode == 0, done.stderr
        return [line for line in done.stdout.splitlines() if " fit " in line]

    continued = planned()
    assert len(continued) == 1 and "stage2.yaml" in continued[0], (
        "a run that is continued needs no knee"
    )
    shutil.rmtree(workplace / "runs" / "tiny" / "stage2")
    first, second = planned("DEVICES=2", "ARGS=--trainer.max_steps 9")
    assert "stage1.yaml" in first and "--trainer.devices 2" in first and "max_steps" not in first
    assert "stage2.yaml" in second and second.endswith("--trainer.max_steps 9")
    (workplace / "runs" / "tiny" / "stage1" / "knee").mkdir()
    assert planned() == continued
    assert len(planned("EXP=experiments/tiny/stage2.yaml")) == 1


def test_every_verb_and_target_is_in_the_readme():
    for verb in VERBS:
        assert f"lsr {verb}" in README, verb
    targets = re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in targets:
        assert f"make {target}" in README, target


def test_the_tree_names_every_file():
    tree = README[README.index("## The tree") :]
    for package in ("lsr", "callbacks", "datamodules", "experiments"):
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".yaml") and path.name not in ("__init__.py", "__main__.py"):
                assert path.name in tree, path.relative_to(ROOT)
