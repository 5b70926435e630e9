"""Write the model card of a pushed model from what its run has recorded; nothing is guessed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lsr.models.checkpoint import ModelFile
from lsr.models.pretrained import MODEL_FILE
from lsr.runs.table import markdown_table

CARD = "README.md"
CONFIGURATION = "config.yaml"
KNEE = "knee.json"
SCORES = "eval.json"
VALIDATION = "validation.png"
CURVES = "knee.png"
CONTACT = "eval.png"

_CAPTIONS = {
    VALIDATION: "Validation photographs: low resolution, bicubic, result, original",
    CONTACT: "The worst, the median and the best photograph of the evaluation",
    CURVES: "Validation curves of the training and their knee",
}

_DATA = {
    "class_path": "data module",
    "train": "training photographs",
    "val": "validation photographs",
    "val_real": "real photographs of validation",
    "degradation": "degradation",
    "degradation_changes": "changes to the degradation",
    "crop_size": "crop of the low-resolution photograph, pixels",
}
"""Settings of the data that the card names, with their names there."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that a model card says.

    Attributes:
        repository: Name on the hub, "owner/name".
        licence: Licence of the weights, as its owner has stated it.
        model: The model.
        source: Name of the file that the weights come from.
        documents: Contents of the files `CONFIGURATION`, `KNEE` and `SCORES` that there are.
        pictures: Names of the pictures that there are, and the step that they show if it is one.
    """

    repository: str
    licence: str
    model: ModelFile
    source: str
    documents: Mapping[str, Any]
    pictures: Mapping[str, int | None]


def model_card(facts: Facts) -> str:
    """Return the card in Markdown, with the head that the Hugging Face hub reads."""
    name = facts.repository.partition("/")[2]
    scale = facts.model.config.scale
    sections = [
        _head(facts),
        f"# {name}",
        "An image super-resolution model of LinearSR, a diffusion transformer with linear "
        "attention ([arXiv 2510.08771](https://arxiv.org/abs/2510.08771)). It enlarges photographs "
        f"{scale} times.",
        markdown_table(("property", "value"), _properties(facts)),
        _use(facts),
        *_pictures(facts.pictures),
        *_data(facts.documents.get(CONFIGURATION)),
        *_knee(facts.documents.get(KNEE), facts.source),
        *_figures(facts.documents.get(SCORES)),
        "## Limits\n\n" + _list(_limits(facts)),
        f"## Licence\n\n`{facts.licence}`, as stated by the owner of this repository. It is the "
        "licence of the weights; the licences of the training photographs are not recorded here.",
    ]
    return "\n\n".join(sections) + "\n"


def _head(facts: Facts) -> str:
    # JSON is YAML: quoted texts need no other escapes.
    return "\n".join(
        [
            "---",
            f"license: {json.dumps(facts.licence)}",
            "library_name: linearsr",
            "pipeline_tag: image-to-image",
            "tags: [super-resolution, linear-attention, diffusion, linearsr]",
            "---",
        ]
    )


def _properties(facts: Facts) -> Iterable[tuple[str, str]]:
    model = facts.model
    config = model.config
    count = sum(weight.numel() for weight in model.weights.values())
    experts = 1 if model.boundaries is None else len(model.boundaries) + 1
    yield "parameters", f"{count / 1e6:.2f} M"
    depths = ", ".join(map(str, model.depths or [config.depth]))
    yield "blocks x channels", f"{depths} x {config.width}"
    yield "experts", str(experts)
    space = f"latents of `{config.autoencoder}`" if config.autoencoder else "pixels, in patches"
    yield "works on", space
    yield "guidance", config.guidance
    yield "sampling steps", "1" if model.one_step else "any number, 1 by default"
    yield "weights", f"`{MODEL_FILE}`, from `{facts.source}`"


def _use(facts: Facts) -> str:
    return f"""## Use

```python
from PIL import Image
from lsr import Upscaler

upscaler = Upscaler.from_pretrained("{facts.repository}")
upscaler.upscale(Image.open("photo.jpg")).save("large.png")
```

or `lsr upscale photo.jpg --model {facts.repository}`, with the package linearsr."""


def _pictures(steps: Mapping[str, int | None]) -> list[str]:
    shown = []
    for name, step in steps.items():
        at = "" if step is None else f", at step {step:,} of the training"
        shown.append(f"![{_CAPTIONS[name]}]({name})\n\n*{_CAPTIONS[name]}{at}.*")
    return ["## Pictures", *shown] if shown else []


def _data(settings: Mapping[str, Any] | None) -> list[str]:
    if settings is None:
        return ["## Data", "The run's settings are not at hand, so the training data are unknown."]
    data = settings.get("data") or {}
    values = {"class_path": data.get("class_path"), **(data.get("init_args") or {})}
    rows = [(label, _cell(values[key])) for key, label in _DATA.items() if values.get(key)]
    return [
        "## Data and degradation",
        markdown_table(("setting", "value"), rows),
        _whole(CONFIGURATION),
    ]


def _whole(name: str) -> str:
    return f"All of it is in [{name}]({name}); folders are given by their last name."


def _knee(knee: Mapping[str, Any] | None, source: str) -> list[str]:
    if knee is None:
        return []
    metrics = [(name, f"{value:.4f}") for name, value in knee["metrics"].items()]
    return [
        f"## Knee\n\nThe training has its knee at step {knee['step']:,}: {knee['reason']}. "
        f"Validation there (the weights here are from `{source}`):",
        markdown_table(("metric", "value"), metrics),
    ]


def _figures(scores: Mapping[str, Any] | None) -> list[str]:
    if scores is None:
        return ["## Figures", "None: the run has no results of `lsr eval`."]
    cards = scores["metrics"]
    rows = [
        (name, cards[name]["direction"], *_numbers(result))
        for name, result in scores["results"].items()
    ]
    return [
        f"## Figures\n\n{scores['images']['scored']} photographs of `{scores['data']}`, protocol "
        f"`{scores['protocol']}`, {scores['model']['steps']} sampling steps, seed "
        f"{scores['model']['seed']}, colours by {scores['model']['color_fix']}.",
        markdown_table(("metric", "direction", "mean", "95 % interval of the mean", "n"), rows),
        "How they are measured:",
        _list(
            f"`{name}`: pyiqa `{card['pyiqa_name']}`, {card['range']}; {card['looks_at']}"
            for name, card in cards.items()
        ),
        f"Versions, definitions and comparisons are in [{SCORES}]({SCORES}).",
    ]


def _numbers(result: Mapping[str, Any]) -> tuple[str, str, str]:
    mean = "–" if result["mean"] is None else f"{result['mean']:.4f}"
    interval = "–"
    if result["ci95"] is not None:
        interval = " to ".join(f"{bound:.4f}" for bound in result["ci95"])
    return mean, interval, str(result["n"])


def _limits(facts: Facts) -> Iterable[str]:
    config = facts.model.config
    yield f"It enlarges {config.scale} times; for other scales the result is resized."
    yield "Nothing is known about its results on other data than those named here."
    if facts.model.one_step:
        yield "It makes a picture in one sampling step, and refuses more."
    if config.guidance != "none":
        yield f"It is guided ({config.guidance}); without guidance results may be worse."
    for part in filter(None, (config.autoencoder, config.guidance_encoder)):
        yield f"It needs `{part}`, whose weights are not in this repository."
    if SCORES not in facts.documents:
        yield "No figures of its quality are known here."
    elif {"niqe", "brisque", "ilniqe"} & facts.documents[SCORES]["results"].keys():
        yield "NIQE and BRISQUE reward noise and invented texture: look at the pictures too."


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"`{each}`" for each in value)
    return f"`{value}`"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
