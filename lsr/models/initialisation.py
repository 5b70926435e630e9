"""Start a model from the weights of a model file, if its configuration fits."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor

from lsr.models.checkpoint import load_weights, read_denoiser, read_model
from lsr.models.denoiser import Denoiser, DenoiserConfig
from lsr.models.mixture import Model


def initialise(denoiser: Denoiser, path: Path, last_expert: bool = False) -> None:
    """Load the weights of a model file into a denoiser that is about to be trained.

    If the denoiser has a head and the file has none, the head keeps its first weights, with which
    it corrects nothing.

    Args:
        denoiser: The denoiser.
        path: The model file.
        last_expert: Whether the file may hold a mixture, of which the last expert is taken: it
            computes a single sampling step.

    Raises:
        ValueError: If the file cannot be read, or was made with another configuration. The path of
            the autoencoder and the frozen encoder of the guidance may differ.
    """
    weights, found, _ = _last_expert(path) if last_expert else read_denoiser(path)
    load_initial(denoiser, weights, found, path)


def load_initial(
    model: Model, weights: dict[str, Tensor], found: DenoiserConfig, path: Path
) -> None:
    """Load weights that were read from a file into a model that is about to be trained.

    Args:
        model: A denoiser, or a mixture with as many experts as the weights have.
        weights: State dict of such a model.
        found: Its configuration in the file.
        path: Path of the file, for error messages.

    Raises:
        ValueError: If the configurations differ, see `initialise`.
    """
    differing = _differences(found, model.config)
    if differing:
        raise ValueError(f"{path} cannot initialise this model: {'; '.join(differing)}")
    if model.config.head_width and not found.head_width:
        own = {name: w for name, w in model.state_dict().items() if "head" in name.split(".")}
        weights = {**own, **weights}
    load_weights(model, weights, path)


def _last_expert(path: Path) -> tuple[dict[str, Tensor], DenoiserConfig, float]:
    """Return what `read_denoiser` returns; for a mixture that of its last expert."""
    weights, config, shift, boundaries, depths, _ = read_model(path)
    if boundaries is None:
        return weights, config, shift
    prefix = f"experts.{len(boundaries)}."
    own = {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }
    return own, config if depths is None else replace(config, depth=depths[-1]), shift


def _differences(found: DenoiserConfig, wanted: DenoiserConfig) -> list[str]:
    """Return in words which fields of a configuration differ from the one that is wanted."""
    ignored: set[str] = set()
    if found.autoencoder and wanted.autoencoder:
        ignored.add("autoencoder")  # one autoencoder may lie in different folders
    if not found.vocabulary and not wanted.vocabulary:
        ignored |= {"guidance", "guidance_encoder"}  # a frozen encoder has no weights in the file
    if not found.head_width:
        ignored |= {"head_width", "head_depth"}  # a new head changes nothing at first
    vocabularies = difference(found.vocabulary, wanted.vocabulary) if found.vocabulary else None
    if vocabularies:
        ignored.add("vocabulary")  # too long to be listed
    values = asdict(wanted)
    texts = [
        f"{name} is {value!r} there, but {values[name]!r} here"
        for name, value in asdict(found).items()
        if value != values[name] and name not in ignored
    ]
    return texts + ([vocabularies] if vocabularies else [])


def difference(found: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Return in words how the vocabulary of a checkpoint differs from that of the model.

    Args:
        found: Vocabulary of the checkpoint.
        wanted: Vocabulary of the model.

    Returns:
        The message with the advice what to do; None if the vocabularies are equal.
    """
    if tuple(found) == tuple(wanted):
        return None
    in_one_only = sorted(set(found) ^ set(wanted))
    if not in_one_only:
        what = "the order differs"
    elif in_one_only[0] in found:
        what = f"{in_one_only[0]!r} is only in the checkpoint"
    else:
        what = f"{in_one_only[0]!r} is only in the model"
    return (
        f"the checkpoint was trained with another vocabulary ({len(found)} tags, the model has "
        f"{len(wanted)}; {what}): give the tags file that it was trained with"
    )
