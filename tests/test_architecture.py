"""The import directions of the house, read from the source."""

import ast
from pathlib import Path

import pytest
from support.processes import ROOT

from lsr.cli import VERBS

PACKAGES = ("lsr", "callbacks", "datamodules")

FORBIDDEN = {
    "lsr": ("callbacks", "datamodules", "experiments", "lsr.cli"),
    "callbacks": ("datamodules", "experiments", "lsr.cli"),
    "datamodules": ("callbacks", "experiments", "lsr.cli"),
    "lsr/ops": ("lsr.nn", "lsr.flow", "lsr.training.module", "lsr.models.denoiser"),
    "lsr/nn": ("lsr.flow", "lsr.training.module", "lsr.models.denoiser"),
    "lsr/flow": ("lsr.ops", "lsr.nn", "lsr.training.module", "lsr.models.denoiser"),
    "lsr/degradations": ("lsr.nn", "lsr.flow", "lsr.training.module", "lsr.models.denoiser", "lightning"),
}

HEAVY = {"torch", "torchvision", "lightning", "pyiqa", "diffusers", "transformers", "triton", "kornia", "cv2", "matplotlib"}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_go_one_way(folder):
    assert sources(folder)
    for path in sources(folder):
        if path.name == "__main__.py":
            continue
        for name in imports(path):
            for forbidden in FORBIDDEN[folder]:
                assert name != forbidden and not name.startswith(forbidden + "."), f"{path} imports {name}"


def test_the_command_line_starts_without_heavy_imports():
    """The verb table, and the module of every verb that is ours to parse, import nothing heavy at the top."""
    ours = {module for module, _ in VERBS.values()} - {"lsr.training.cli"}
    for name in ("__init__", "__main__", "cli", "exit_codes", *(module.removeprefix("lsr.") for module in sorted(ours))):
        for imported in imports(ROOT / "lsr" / f"{name}.py", top_level_only=True):
            assert imported.split(".")[0] not in HEAVY, f"{name} imports {imported}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_has_a_name_that_says_nothing(package):
    for path in sources(package):
        assert path.stem not in {"utils", "common", "base", "helper", "helpers", "misc"}, path


def test_nothing_is_unpickled_and_nothing_draws_from_the_global_generator():
    for package in PACKAGES:
        for path in sources(package):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                call = ast.unparse(node.func)
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                if call == "torch.load":
                    assert keywords.get("weights_only") == "True", f"{path}:{node.lineno}"
                assert not call.startswith(("pickle.", "random.")), f"{path}:{node.lineno}"
                if call in {"torch.randn", "torch.rand", "torch.randint", "torch.randperm", "torch.poisson", "torch.bernoulli"}:
                    assert "generator" in keywords, f"{path}:{node.lineno} draws from the global generator"


def test_pyproject_lists_every_package():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        ".".join(path.parent.relative_to(ROOT).parts) for package in PACKAGES for path in sources(package) if path.name == "__init__.py"
    }
    assert listed == found
