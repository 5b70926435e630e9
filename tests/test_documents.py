"""README and docs: their commands run or are checked, their Python runs, their links resolve."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from support.processes import ROOT
from support.tiny_autoencoder import save_autoencoder
from support.workplace import furnish

from lsr.cli import VERBS, main

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
LINKED = [
    *PAGES,
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "experiments").rglob("*.md")),
    *sorted((ROOT / "lsr").rglob("*.md")),
]
SHELL = {"lsr", "make", "source", "git", "cd"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Return every command of every page once, without comments."""
    found: dict[str, None] = {}
    for page in LINKED:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                if command := re.sub(r"(^|\s+)#.*", "", line).strip():
                    found[command] = None
    return list(found)


@pytest.fixture
def workplace(tmp_path, photo, denoiser, monkeypatch):
    furnish(tmp_path, photo, denoiser)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sana(workplace):
    """A small SANA where the commands look for the large one."""
    from diffusers.models.transformers.sana_transformer import SanaTransformer2DModel

    sizes = {
        "num_attention_heads": 1,
        "num_cross_attention_heads": 1,
        "cross_attention_head_dim": 32,
        "cross_attention_dim": 32,
    }
    model = SanaTransformer2DModel(**sizes, num_layers=1, caption_channels=8, qk_norm=None)
    model.save_pretrained(workplace / "weights" / "sana")


@pytest.fixture
def tiny_instead(workplace):
    """Settings for the command line that make the experiments of the paper's size small."""
    settings = {
        "model.denoiser.autoencoder": save_autoencoder(workplace / "autoencoder"),
        "model.denoiser.latent_channels": 4,
        "model.denoiser.latent_factor": 8,
        "data.train": "['photos']",
        "data.crop_size": 8,
        "data.num_workers": 0,
    }
    return [str(part) for name, value in settings.items() for part in (f"--{name}", value)]


@pytest.mark.parametrize("command", commands())
def test_command(command, workplace, request, capsys):
    words = shlex.split(command)
    assert words[0] in SHELL, f"unknown kind of command: {command}"
    if words[0] == "make":
        dry_run = ["make", "-n", *words[1:]]
        done = subprocess.run(dry_run, capture_output=True, text=True, cwd=workplace)
        assert done.returncode == 0, done.stderr
        return
    if words[0] != "lsr":
        return
    arguments = words[1:]
    if arguments[0] == "convert":
        request.getfixturevalue("sana")
    if arguments[0] == "cache-latents":
        arguments += request.getfixturevalue("tiny_instead")
    if "--help" in arguments or "--version" in arguments:
        try:
            assert main(arguments) == 0
        except SystemExit as end:
            assert end.code in (0, None)
    elif arguments[0] in ("fit", "validate", "test", "predict"):
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--print_config"])
        assert end.value.code in (0, None)
    else:
        assert main(arguments) == 0, capsys.readouterr().err


QUOTED = sorted(
    {
        " ".join(command.replace("\\\n", " ").split())
        for page in LINKED
        for command in re.findall(
            rf"\blsr (?:{'|'.join(VERBS)})(?:[^`\n\\]|\\\n)*", page.read_text()
        )
    }
)
"""Everything that looks like a command, wherever it stands."""


def known_options(verb, capsys):
    """Return the options that the help of a verb names, subcommands included."""
    for action in {"degrade": ["preview", "export"], "bench": [""]}.get(verb, [""]):
        with pytest.raises(SystemExit):
            main([verb, *filter(None, [action]), "--help"])
    return set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))


@pytest.mark.parametrize(
    "verb", [verb for verb, (home, _) in VERBS.items() if home.startswith("lsr.commands")]
)
def test_the_options_of_every_quoted_command_exist(verb, capsys):
    known = known_options(verb, capsys) | {"--help"}
    quoted = [text for text in QUOTED if text.split()[1] == verb]
    assert quoted
    unknown = {
        option: text
        for text in quoted
        for option in re.findall(r"(?<=\s)--[a-z][\w-]*(?=[\s=.,;:)]|$)", text)
        if option not in known
    }
    assert unknown == {}


LOGGERS = [
    block
    for block in blocks(ROOT / "docs" / "training.md", "yaml")
    if re.search("Wandb|MLFlow", block)
]


@pytest.mark.parametrize("block", LOGGERS)
def test_a_logger_is_added_to_an_experiment(block, workplace, capsys):
    (workplace / "more.yaml").write_text(block)
    command = ["fit", "--config", "experiments/tiny/stage1.yaml", "--config", "more.yaml"]
    with pytest.raises(SystemExit):
        main([*command, "--print_config"])
    loggers = yaml.safe_load(capsys.readouterr().out)["trainer"]["logger"]
    wanted = yaml.safe_load(block)["trainer"]["logger+"][0]["class_path"]
    assert len(loggers) == 3 and loggers[2]["class_path"] == wanted


PYTHON = [
    (page.name, block)
    for page in LINKED
    for block in blocks(page, "python")
    if "onnxruntime" not in block  # tests/export/test_onnx.py runs them, without torch
]


@pytest.mark.parametrize(("page", "code"), PYTHON, ids=[name for name, _ in PYTHON])
def test_python(page, code, workplace):
    exec(compile(code, page, "exec"), {"__name__": "__main__"})


def test_the_first_screen_has_what_a_visitor_wants():
    lines = README.read_text().splitlines()
    first = "\n".join(lines[:40])
    for wanted in (
        "git clone",
        "make demo",
        "make test",
        "lsr upscale photo.jpg",
        "from lsr import Upscaler",
        "![",
    ):
        assert wanted in first, wanted
    assert len(lines) <= 150


def test_every_verb_and_target_is_documented():
    text = "\n".join(page.read_text() for page in PAGES)
    makefile = (ROOT / "Makefile").read_text()
    wanted = [f"lsr {verb}" for verb in VERBS]
    wanted += [
        f"make {name}" for name in re.findall(r"^([a-z0-9-]+):.*## ", makefile, re.MULTILINE)
    ]
    assert [each for each in wanted if each not in text] == []


def test_the_tree_names_every_package():
    tree = README.read_text().partition("## The tree")[2].partition("\n## ")[0]
    assert len([line for line in tree.splitlines() if line.strip()]) <= 15
    folders = [path.parent.name for path in (ROOT / "lsr").glob("*/__init__.py")]
    folders += ["callbacks", "datamodules", "experiments", "docs", "tests"]
    missing = [name for name in folders if f"{name}/" not in tree and name != "embedded_model"]
    assert missing == []


def anchors(page: Path) -> set[str]:
    """Return the anchors that a code host and the site make of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


def planned(workplace, stage, *arguments):
    """Return the training commands that `make stage2` or `make stage3` would run."""
    dry_run = ["make", "-n", stage, *arguments]
    done = subprocess.run(dry_run, capture_output=True, text=True, cwd=workplace)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if " fit " in line]


@pytest.mark.parametrize("stage", ["stage2", "stage3"])
def test_a_later_stage_trains_stage_1_only_where_there_is_no_knee(workplace, stage):
    continued = planned(workplace, stage)
    assert len(continued) == 1 and f"{stage}.yaml" in continued[0], "a continued run needs no knee"
    shutil.rmtree(workplace / "runs" / "tiny" / stage)
    first, second = planned(workplace, stage, "DEVICES=2", "ARGS=--trainer.max_steps 9")
    assert "stage1.yaml" in first and "--trainer.devices 2" in first and "max_steps" not in first
    assert f"{stage}.yaml" in second and second.endswith("--trainer.max_steps 9")
    knee = workplace / "runs" / "tiny" / "stage1" / "knee"
    knee.mkdir()
    (knee / "provisional.json").write_text("{}")
    assert len(planned(workplace, stage)) == 2, "a provisional knee is not enough"
    (knee / "knee.json").write_text("{}")
    assert planned(workplace, stage) == continued
    assert len(planned(workplace, stage, f"EXP=experiments/tiny/{stage}.yaml")) == 1
