"""Write the folder that is pushed to a hub: a model, what its run has recorded, a model card."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lsr.export.model_card import (
    CARD,
    CONFIGURATION,
    CONTACT,
    CURVES,
    KNEE,
    SCORES,
    VALIDATION,
    Facts,
    model_card,
)
from lsr.export.shareable import shareable
from lsr.files import atomic_path, copy_file, sha256_of, write_json
from lsr.models.checkpoint import read_model, save_denoiser
from lsr.models.pretrained import MODEL_FILE, find_model
from lsr.reading.texts import read_text
from lsr.runs.settings import settings_of

OPTIONAL_FILES = (CONFIGURATION, KNEE, SCORES, VALIDATION, CURVES, CONTACT)
"""Files that a pushed folder has if the run has recorded what they are made of."""


@dataclass(frozen=True)
class Sources:
    """Files that a pushed folder is made of.

    Attributes:
        model: Model file or checkpoint.
        run: Folder of the run that trained it; None for a model file without a run.
        scores: Folder of `lsr eval` on this model, or None.
    """

    model: Path
    run: Path | None
    scores: Path | None


def find_sources(name: str, scores: Path | None) -> Sources:
    """Find what a run has recorded.

    Args:
        name: Folder of a run, whose published knee is taken before `checkpoints/last.ckpt`; or a
            name that `find_model` knows.
        scores: Folder of `lsr eval`; None looks in `eval` in the run and beside it.

    Raises:
        ValueError: If there is no model, or the figures belong to another one.
    """
    knee = Path(name) / "knee" / "seed.safetensors"
    model = knee if knee.is_file() else find_model(name)
    if not model.is_file():
        raise ValueError(f"{model}: no such model file or folder of a run")
    parents = model.resolve().parents[:2]
    run = next((each for each in parents if (each / "config.yaml").is_file()), None)
    digest = sha256_of(model)
    if scores is not None:
        if _scored(scores) != digest:
            raise ValueError(
                f"--eval {scores}: has no figures of {model}: score it by lsr eval --model {model}"
            )
        return Sources(model, run, scores)
    places = [run / "eval", run.parent / "eval"] if run else []
    return Sources(model, run, next((each for each in places if _scored(each) == digest), None))


def _scored(folder: Path) -> str | None:
    """Return the SHA-256 of the model that a folder of `lsr eval` has figures of."""
    try:
        return json.loads((folder / "summary.json").read_text())["model"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_folder(out: Path, sources: Sources, repository: str, licence: str) -> list[str]:
    """Write the folder.

    Args:
        out: The folder, empty or not there yet.
        sources: What it is made of.
        repository: Name on the hub, "owner/name".
        licence: Licence of the weights.

    Returns:
        Names of the files.
    """
    out.mkdir(parents=True, exist_ok=True)
    _write_model(out / MODEL_FILE, sources.model)
    documents = _write_documents(out, sources)
    pictures = _copy_pictures(out, sources, documents.get(KNEE))
    facts = Facts(
        repository=repository,
        licence=licence,
        model=read_model(out / MODEL_FILE),
        source=sources.model.name,
        documents=documents,
        pictures=pictures,
    )
    with atomic_path(out / CARD) as temporary:
        temporary.write_text(model_card(facts), encoding="utf-8")
    return sorted(path.name for path in out.iterdir())


def _write_model(target: Path, source: Path) -> None:
    """Copy a model file, or write the averaged weights of a checkpoint as one.

    A model file that names no local folder is copied unchanged: `knee.json` has its SHA-256.
    """
    found = read_model(source)
    config = shareable(found.document)
    if source.suffix == ".safetensors" and json.dumps(config) == json.dumps(found.document):
        copy_file(source, target)
    else:
        save_denoiser(target, found.weights, config)


def _write_documents(out: Path, sources: Sources) -> dict[str, Any]:
    """Write settings, knee and figures as far as there are any, and return them by file name."""
    found: dict[str, Any] = {}
    if sources.run is not None:
        path = sources.run / "config.yaml"
        found[CONFIGURATION] = settings_of(read_text(path), path)
        knee = sources.run / "knee" / "knee.json"
        if knee.is_file():
            found[KNEE] = json.loads(knee.read_text())
    if sources.scores is not None:
        summary = json.loads((sources.scores / "summary.json").read_text())
        found[SCORES] = {key: each for key, each in summary.items() if key != "command"}
    found = {name: shareable(document) for name, document in found.items()}
    for name, document in found.items():
        if name == CONFIGURATION:
            with atomic_path(out / name) as temporary:
                temporary.write_text(yaml.safe_dump(document, sort_keys=False))
        else:
            write_json(out / name, document)
    return found


def _copy_pictures(
    out: Path, sources: Sources, knee: Mapping[str, Any] | None
) -> dict[str, int | None]:
    """Copy a validation picture, the curves of the knee, and the contact sheet.

    The validation picture is the newest one. For the knee it is the one of the knee's step, because
    later pictures show other weights.

    Returns:
        Names of the files, and the step of the run that they show if it is a single one.
    """
    found: dict[str, tuple[Path, int | None]] = {}
    if sources.run is not None:
        of_knee = knee is not None and sources.model.resolve().parent == sources.run / "knee"
        by_step = _validation_pictures(sources.run)
        step = knee["step"] if knee is not None and of_knee else max(by_step, default=None)
        if step in by_step:
            found[VALIDATION] = by_step[step], step
        found[CURVES] = sources.run / "knee" / "knee.png", None
    if sources.scores is not None:
        found[CONTACT] = sources.scores / "contact.png", None
    there = {name: each for name, each in found.items() if each[0].is_file()}
    for name, (path, _) in there.items():
        copy_file(path, out / name)
    return {name: step for name, (_, step) in there.items()}


def _validation_pictures(run: Path) -> dict[int, Path]:
    """Return the pictures of a run's validations by step."""
    found = {path.stem.removeprefix("step-"): path for path in (run / "images").glob("step-*.png")}
    return {int(step): path for step, path in found.items() if step.isdecimal()}
