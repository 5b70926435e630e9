"""The settings of one request, checked before a photograph waits for its turn."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lsr.inference.config import SamplingConfig, check_scale
from lsr.inference.upscaler import Upscaler
from lsr.models.pretrained import EMBEDDED, PACKAGED, check_fidelity
from lsr.serve.limits import Refused

_MOST_STEPS = 100
_LONGEST_TAGS = 2000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a photograph is upscaled.

    Attributes:
        upscaler: The model.
        fidelity: Blend of the models in this package, see `lsr.models.fidelity`; None takes
            `upscaler` itself.
        scale: Upscaling factor.
        sampling: Settings of sampling.
        tags: Contents of the photograph, separated by commas.
    """

    upscaler: Upscaler
    fidelity: float | None
    scale: float
    sampling: SamplingConfig
    tags: str


def takes_fidelity(model: str) -> bool:
    """Return whether the model of a name can be blended with the faithful one."""
    return PACKAGED.get(model) == EMBEDDED


def settings_of(fields: Mapping[str, Any], models: Mapping[str, Upscaler]) -> Settings:
    """Return the settings that a request asks for.

    Args:
        fields: `model`, `fidelity`, `scale`, `steps`, `seed` and `tags`, as text or as JSON values;
            one that is missing, None or empty has its default.
        models: The models of the server by name; the first is the default.

    Raises:
        Refused: If a field is unknown, or its value is wrong.
    """
    known = ("model", "fidelity", "scale", "steps", "seed", "tags")
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise Refused(f"the field {unknown[0]!r:.60} is unknown: choose from {', '.join(known)}")
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    model = given.get("model", next(iter(models)))
    if not isinstance(model, str) or model not in models:
        raise Refused(f"the model {model!r:.60} is unknown: choose from {', '.join(models)}")
    upscaler = models[model]
    fidelity = _fidelity(given["fidelity"], model) if "fidelity" in given else None
    scale = _number("scale", given.get("scale", upscaler.scale), float)
    steps = _number("steps", given.get("steps", upscaler.sampling.num_inference_steps), int)
    seed = _number("seed", given.get("seed", upscaler.sampling.seed), int)
    if steps > _MOST_STEPS:
        raise Refused(f"steps must be at most {_MOST_STEPS}, not {steps}")
    if upscaler.denoiser.one_step and steps > 1:
        raise Refused(f"the model {model} makes its picture in one step: set steps to 1")
    try:
        check_scale(scale)
        sampling = replace(upscaler.sampling, num_inference_steps=steps, seed=seed)
    except ValueError as error:
        raise Refused(str(error)) from None
    tags = _tags(given.get("tags", ""), model, upscaler)
    return Settings(upscaler=upscaler, fidelity=fidelity, scale=scale, sampling=sampling, tags=tags)


def _fidelity(value: Any, model: str) -> float:
    """Return the fidelity; raise Refused if it is no share, or the model takes none."""
    fidelity = _number("fidelity", value, float)
    if not takes_fidelity(model):
        raise Refused(f"the model {model} takes no fidelity: leave it out")
    try:
        check_fidelity(fidelity, EMBEDDED)
    except ValueError as error:
        raise Refused(str(error)) from None
    return fidelity


def _number(name: str, value: Any, kind: type[float]) -> Any:
    """Return a field as a number of a kind; raise Refused if it is none."""
    try:
        if isinstance(value, bool) or (kind is int and float(value) != int(float(value))):
            raise ValueError
        return kind(float(value))
    except (TypeError, ValueError, OverflowError):
        wanted = "whole number" if kind is int else "number"
        raise Refused(f"{name} must be a {wanted}, not {value!r:.60}") from None


def _tags(value: Any, model: str, upscaler: Upscaler) -> str:
    """Return the tags; raise Refused if they are no text, too long, or without effect."""
    if not isinstance(value, str) or len(value) > _LONGEST_TAGS:
        raise Refused(f"tags must be a text of at most {_LONGEST_TAGS} characters")
    if value and not upscaler.denoiser.config.takes_tags:
        raise Refused(f"the model {model} takes no tags: leave them out")
    return value
