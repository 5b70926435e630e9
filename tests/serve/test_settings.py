"""The settings of a request are checked before its photograph waits."""

import pytest

pytest.importorskip("gradio", reason="gradio is missing: pip install 'linearsr[app]'")

from lsr.inference.upscaler import Upscaler
from lsr.serve.limits import Refused
from lsr.serve.settings import settings_of


@pytest.fixture
def models(denoiser):
    return {"first": Upscaler(denoiser, 3.0), "second": Upscaler(denoiser, 3.0)}


def test_missing_and_empty_fields_have_the_defaults_of_the_first_model(models):
    settings = settings_of({"scale": "", "tags": None}, models)
    assert settings.upscaler is models["first"]
    assert settings.scale == 4 and settings.sampling == models["first"].sampling


def test_fields_are_texts_or_numbers(models):
    fields = {"model": "second", "scale": "2.5", "steps": 3, "seed": "7"}
    settings = settings_of(fields, models)
    assert settings.upscaler is models["second"] and settings.scale == 2.5
    assert (settings.sampling.num_inference_steps, settings.sampling.seed) == (3, 7)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("model", value) for value in ("third", 1, ["first"], "../first", 5000 * "x")),
        *(("scale", value) for value in ("0", -1, "nan", "inf", "two", True, [4], {})),
        *(("steps", value) for value in ("0", 1.5, "inf", 10**9, "many")),
        *(("fidelity", value) for value in (0.5, "x")),
        *(("seed", value) for value in (-1, 2**31, "x")),
        *(("tags", value) for value in ("cat", 5, 3000 * "x")),
        ("fields", "of another name"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(models, field, value):
    with pytest.raises(Refused) as refused:
        settings_of({field: value}, models)
    line = str(refused.value)
    assert refused.value.status == 400
    assert field.rstrip("s") in line and len(line) < 200 and "\n" not in line


def test_a_one_step_model_is_not_asked_for_more(models):
    models["first"].denoiser.one_step = True
    with pytest.raises(Refused, match="one step"):
        settings_of({"steps": 2}, models)


def test_fidelity_blends_the_models_of_the_package(models):
    named = {"perceptual": models["first"], "faithful": models["second"]}
    assert settings_of({}, named).fidelity is None
    assert settings_of({"fidelity": "0.25"}, named).fidelity == 0.25
    with pytest.raises(Refused, match="faithful takes no fidelity"):
        settings_of({"model": "faithful", "fidelity": 0.25}, named)
    for value in (-0.1, 1.5, "nan"):
        with pytest.raises(Refused, match="fidelity"):
            settings_of({"fidelity": value}, named)
