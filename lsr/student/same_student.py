"""A run of stage 3 that is continued has to keep the terms of its loss and its frozen models."""

from collections.abc import Mapping
from typing import Any

from lsr.files import sha256_of
from lsr.student.frozen import Frozen


def trained_with(
    weights: Mapping[str, float], frozen: Mapping[str, Frozen], real: str | None, noise: bool
) -> dict[str, Any]:
    """Return what must not change in a run, as plain values.

    Args:
        weights: Weight of each term of the loss.
        frozen: The frozen models by their role.
        real: What the discriminators see as real, see `StudentConfig.real`; None without them.
        noise: Whether the student starts from noise.
    """
    return {
        "real": real,
        "noise": noise,
        "terms": sorted(name for name, weight in weights.items() if weight),
        "frozen": {role: sha256_of(each.path) for role, each in frozen.items()},
    }


def check_same_student(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that a run is continued with what it was trained with.

    Args:
        found: Entries of the checkpoint, results of `trained_with`.
        wanted: The same of this run.

    Raises:
        ValueError: If they differ.
    """
    if not found:
        raise ValueError(
            "the checkpoint is not of stage 3: start from its weights with model.init_from, and "
            "leave out --ckpt_path"
        )
    if found["terms"] != wanted["terms"]:
        raise ValueError(
            f"the run was trained with the terms {', '.join(found['terms'])}, not "
            f"{', '.join(wanted['terms'])}: keep their weights (LPIPS needs its files, or "
            "student.lpips_weight 0)"
        )
    if found["frozen"].keys() != wanted["frozen"].keys():
        sampled = "with" if "teacher" in found["frozen"] else "without"
        raise ValueError(
            f"the run was trained {sampled} a teacher that samples: keep student.teacher_steps and "
            "student.real, or begin a new run"
        )
    for name in ("real", "noise"):
        before = found.get(name, wanted[name])  # earlier versions did not record it
        if before != wanted[name]:
            raise ValueError(
                f"this run was trained with student.{name}: {str(before).lower()}, not "
                f"{str(wanted[name]).lower()}: keep it, or begin a new run"
            )
    changed = [role for role, digest in wanted["frozen"].items() if found["frozen"][role] != digest]
    if changed:
        setting = "student.ladd.features" if changed == ["ladd"] else "model.init_from"
        raise ValueError(
            f"the frozen model of {setting} is another file than that which the run was trained "
            "with: name the same file, or begin a new run"
        )
