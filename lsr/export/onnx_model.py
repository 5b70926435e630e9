"""Export a model as an ONNX file: which network it holds, and what its metadata say."""

from pathlib import Path

import torch

from lsr import __version__
from lsr.export.networks import ExpertsNetwork, OneStep, VelocityNetwork
from lsr.export.onnx_file import OPSET, Network, write_onnx
from lsr.models.mixture import ExpertMixture, Model

_LIMITS = (
    "any batch, height and width from 1; the whole picture is in memory at once; "
    "without tags, texts or image features"
)


def export_onnx(
    path: Path,
    model: Model,
    shift: float,
    *,
    name: str,
    licence: str,
    dtype: str = "float32",
    one_step: bool,
) -> str:
    """Write a model as an ONNX file.

    Args:
        path: File to write.
        model: The model.
        shift: Shift of its flow times.
        name: Name of the model for the metadata.
        licence: Licence of the weights for the metadata.
        dtype: Type of the weights and the layers, "float32" or "float16".
        one_step: Whether the file holds one whole sampling step, from LR image and noise to SR
            image, instead of the velocity. A model with an autoencoder always gives the velocity.

    Returns:
        What was written, in one line.

    Raises:
        ValueError: If the model cannot be exported, or the file would not give its numbers.
    """
    if model.config.guidance == "visual":
        raise ValueError(
            "a model that is guided by image features (guidance: visual) needs a second network, "
            "which an ONNX file does not hold: export a model without it"
        )
    one_step = one_step and model.config.autoencoder is None

    def network(kind: str) -> Network:
        dtype = getattr(torch, kind)
        if one_step:
            return OneStep(VelocityNetwork(model.denoiser_at(torch.ones(1)), dtype))
        if isinstance(model, ExpertMixture):
            return ExpertsNetwork(model, dtype)
        return VelocityNetwork(model, dtype)

    exported = network(dtype)
    about = {
        "linearsr": __version__,
        "model": name,
        "licence": licence,
        "map": f"{', '.join(exported.inputs)} -> {', '.join(exported.outputs)}",
        "scale": str(model.config.scale),
        "prediction": model.config.prediction,
        "shift": str(shift),
        "lr_multiple": str(model.lr_multiple),
        "margin": str(model.margin),
        "channels": str(model.space.channels),
        "dtype": dtype,
        "limits": _LIMITS,
    }
    difference = write_onnx(path, exported, network("float32"), about, dtype)
    return (
        f"{about['map']}, {dtype}, opset {OPSET}, differs from PyTorch in float32 by "
        f"{difference:.1e}; {_LIMITS}"
    )
