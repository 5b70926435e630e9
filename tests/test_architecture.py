"""The rules of the tree, checked on the source: who may import whom, and how modules are named.

Every rule is also tried on a copy with a planted violation, which it must find.
"""

import ast
import shutil
import tomllib
from pathlib import Path

import pytest
from support.processes import ROOT

PACKAGES = ("lsr", "callbacks", "datamodules")

FLOORS = (
    ("lsr.commands",),
    ("lsr.bench", "callbacks", "datamodules", "lsr.cli"),
    ("lsr.training", "lsr.evaluation", "lsr.serve"),
    ("lsr.experts", "lsr.student", "lsr.inference", "lsr.export", "lsr.report"),
    ("lsr.knee", "lsr.guidance"),
    ("lsr.models", "lsr.runs", "lsr.degradations", "lsr.datasets"),
    ("lsr.nn", "lsr.figures", "lsr.metrics", "lsr.images"),
    ("lsr.reading", "lsr.console"),
    (
        "lsr.ops",
        "lsr.distributed",
        "lsr.flow",
        "lsr.embedded_model",
        "lsr.batch",
        "lsr.errors",
        "lsr.files",
    ),
)
"""From the top. A wing imports wings of lower floors, never of its own floor or of a higher one."""

FLOOR = {wing: number for number, floor in enumerate(FLOORS) for wing in floor}

STRANGERS = {
    ("lsr.nn", "lsr.flow"),
    ("lsr.degradations", "lsr.nn"),
    ("lsr.degradations", "lsr.flow"),
}
"""Pairs of which the first must not import the second, although that lies on a lower floor."""

WITHOUT_LIGHTNING = (
    "lsr.ops",
    "lsr.flow",
    "lsr.nn",
    "lsr.images",
    "lsr.datasets",
    "lsr.degradations",
    "lsr.models",
    "lsr.student",
    "lsr.inference",
    "lsr.export",
    "lsr.serve",
    "lsr.knee",
    "lsr.report",
    "lsr.runs.history",
)
"""What a program that only upscales, or only looks for a knee, imports."""

HEAVY = {
    "cv2",
    "diffusers",
    "kornia",
    "lightning",
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "pyiqa",
    "torch",
    "torchvision",
    "transformers",
    "triton",
}

LIGHT = (
    "lsr.__init__",
    "lsr.__main__",
    "lsr.cli",
    "lsr.console.standard_output",
    "lsr.errors",
    "lsr.models.pretrained",
    "lsr.serve.limits",
)
"""What `lsr --help` and `lsr VERB --help` import, beside every module of lsr.commands."""

SAYS_NOTHING = {"utils", "common", "base", "helper", "helpers", "misc"}

GLOBAL_DRAWS = {
    f"torch.{name}" for name in ("randn", "rand", "randint", "randperm", "poisson", "bernoulli")
}


def sources(root: Path) -> list[tuple[str, Path]]:
    """Return every module of the project as its dotted name and its file."""
    found = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            found.append((".".join(path.relative_to(root).with_suffix("").parts), path))
    assert len(found) > 100
    return found


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Return the dotted names of what a file imports, modules and their members alike."""
    tree = ast.parse(path.read_text())
    names: set[str] = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def belongs_to(name: str, wings: tuple[str, ...]) -> bool:
    return any(name == wing or name.startswith(wing + ".") for wing in wings)


def wing_of(name: str) -> str | None:
    return next((wing for wing in FLOOR if belongs_to(name, (wing,))), None)


def imports_that_go_up(root: Path) -> list[str]:
    found = []
    for module, path in sources(root):
        here = wing_of(module)
        for name in sorted(imports(path)):
            there = wing_of(name)
            goes_up = here and there and there != here and FLOOR[there] <= FLOOR[here]
            if goes_up or (here, there) in STRANGERS:
                found.append(f"{module} imports {name}")
    return found


def the_library_knows_its_users(root: Path) -> list[str]:
    users = ("callbacks", "datamodules", "experiments", "lsr.cli")
    everywhere = ("experiments", "lsr.cli")
    return [
        f"{module} imports {name}"
        for module, path in sources(root)
        if module not in ("lsr.__main__", "lsr.cli", "lsr.commands.completion")
        for name in imports(path)
        if belongs_to(name, users if belongs_to(module, ("lsr",)) else everywhere)
    ]


def somebody_imports_a_command(root: Path) -> list[str]:
    return [
        f"{module} imports {name}"
        for module, path in sources(root)
        if not belongs_to(module, ("lsr.commands", "lsr.cli"))
        for name in imports(path)
        if belongs_to(name, ("lsr.commands",))
    ]


def lightning_where_it_does_not_belong(root: Path) -> list[str]:
    return [
        f"{module} imports {name}"
        for module, path in sources(root)
        if belongs_to(module, WITHOUT_LIGHTNING)
        for name in imports(path)
        if belongs_to(name, ("lightning",))
    ]


def heavy_imports_of_the_command_line(root: Path) -> list[str]:
    return [
        f"{module} imports {name}"
        for module, path in sources(root)
        if module in LIGHT or belongs_to(module, ("lsr.commands",))
        for name in imports(path, top_level_only=True)
        if name.split(".")[0] in HEAVY
    ]


def modules_in_no_wing(root: Path) -> list[str]:
    at_the_top = [
        path.stem for path in (root / "lsr").glob("*.py") if not path.stem.startswith("__")
    ]
    homeless = [
        m
        for m, _ in sources(root)
        if wing_of(m) is None and not m.rpartition(".")[2].startswith("__")
    ]
    return homeless + (["lsr: more than eight modules at the top"] if len(at_the_top) > 8 else [])


def names_that_say_nothing(root: Path) -> list[str]:
    return [module for module, path in sources(root) if path.stem in SAYS_NOTHING]


def lines_over_100_columns(root: Path) -> list[str]:
    """Also lines that ruff lets pass because they end with a comment for a tool."""
    return [
        f"{module}:{number}"
        for module, path in sources(root)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 100
    ]


def unpickling_and_global_draws(root: Path) -> list[str]:
    found = []
    for module, path in sources(root):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            call = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            unsafe = call == "torch.load" and keywords.get("weights_only") != "True"
            global_draw = call in GLOBAL_DRAWS and "generator" not in keywords
            if unsafe or global_draw or call.startswith(("pickle.", "random.")):
                found.append(f"{module}:{node.lineno} {call}")
    return found


def packages_that_pyproject_forgets(root: Path) -> list[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {
        module.removesuffix(".__init__")
        for module, path in sources(root)
        if path.name == "__init__.py"
    }
    return sorted(listed ^ found)


RULES = {
    imports_that_go_up: ("lsr/flow/path.py", "import lsr.nn.block"),
    the_library_knows_its_users: ("lsr/knee/plot.py", "from callbacks import EMA"),
    somebody_imports_a_command: ("callbacks/ema.py", "from lsr.commands.upscale import main"),
    lightning_where_it_does_not_belong: (
        "lsr/models/checkpoint.py",
        "def f():\n    import lightning.pytorch",
    ),
    heavy_imports_of_the_command_line: ("lsr/commands/shard.py", "import numpy as np"),
    modules_in_no_wing: ("lsr/tools.py", ""),
    names_that_say_nothing: ("datamodules/utils.py", ""),
    lines_over_100_columns: ("lsr/flow/path.py", "# " + 99 * "x"),
    unpickling_and_global_draws: ("lsr/flow/path.py", "torch.load(path)"),
    packages_that_pyproject_forgets: ("lsr/nn/new/__init__.py", ""),
}
"""For each rule a file and a line that break it."""

MORE_VIOLATIONS = [
    (imports_that_go_up, "callbacks/ema.py", "from datamodules import PairedDataModule"),
    (imports_that_go_up, "datamodules/crops.py", "import callbacks.ema"),
    (imports_that_go_up, "lsr/ops/kernel_support.py", "from lsr.models.denoiser import Denoiser"),
    (imports_that_go_up, "lsr/degradations/jpeg.py", "from lsr.models.denoiser import Denoiser"),
    (imports_that_go_up, "lsr/distributed/fsdp.py", "from lsr.models.mixture import ExpertMixture"),
    (imports_that_go_up, "lsr/experts/run.py", "from lsr.training.module import LinearSRModule"),
    (imports_that_go_up, "lsr/student/ladd.py", "from lsr.inference.sampling import _grid"),
    (imports_that_go_up, "lsr/inference/cells.py", "from lsr.evaluation.per_image import merge"),
    (imports_that_go_up, "lsr/guidance/context.py", "from lsr.bench import timing"),
    (imports_that_go_up, "lsr/nn/block.py", "from lsr.flow.path import interpolate"),
    (imports_that_go_up, "lsr/degradations/noise.py", "from lsr.flow import noise"),
    (the_library_knows_its_users, "lsr/files.py", "import lsr.cli"),
    (the_library_knows_its_users, "datamodules/crops.py", "import experiments"),
    (lightning_where_it_does_not_belong, "lsr/runs/history.py", "import lightning as L"),
    (the_library_knows_its_users, "lsr/commands/shard.py", "import lsr.cli"),
    (heavy_imports_of_the_command_line, "lsr/cli.py", "import torch"),
    (unpickling_and_global_draws, "lsr/nn/dit.py", "noise = torch.randn(3)"),
    (unpickling_and_global_draws, "lsr/nn/dit.py", "random.shuffle([])"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_nothing_in_the_tree_breaks_the_rule(rule):
    assert rule(ROOT) == []


@pytest.mark.parametrize(
    ("rule", "file", "line"),
    [(rule, *planted) for rule, planted in RULES.items()] + MORE_VIOLATIONS,
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_rule_finds_a_planted_violation(rule, file, line, tmp_path):
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    with (tmp_path / file).open("a") as broken:
        broken.write(f"\n{line}\n")
    assert rule(tmp_path)
