"""The scripts in the folder `experiments`, which belong to no package, as modules."""

import importlib.util
import sys
from types import ModuleType

from support.processes import ROOT


def experiment_script(name: str) -> ModuleType:
    """Return a script as a module, such as `esgf/report`; every call runs it anew."""
    path = ROOT / "experiments" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there for the module of their annotations
    spec.loader.exec_module(module)
    return module
