"""Write a network as an ONNX file that gives the same numbers in ONNX Runtime."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lsr.export.networks import ExpertsNetwork, OneStep, VelocityNetwork
from lsr.files import atomic_path

if TYPE_CHECKING:
    import onnx

OPSET = 20
"""Version of ONNX's operators: ONNX Runtime 1.17 and later, in Python and in browsers."""

TOLERANCE = {"float32": 1e-4, "float16": 5e-3}
"""Largest difference to PyTorch in float32 that is allowed, by data type of the file.

It holds for results in [-1, 1], as images are. Where a result has larger values, the difference is
divided by the largest.
"""

_TRACED = (2, 21, 35)
"""Batch, height and width of the trace.

The sides are odd and differ, so that the trace takes no two sizes in the network for the same.
"""

_CHECKED = ((1, 24, 32), (2, 33, 47), (1, 65, 20))
"""Batches, heights and widths that are compared with PyTorch."""

_LARGEST = 2**31 - 2**20
"""Bytes of weights that one file can hold: a protobuf message has at most 2 GiB."""

_AXES = {
    "lr": {0: "batch", 2: "height", 3: "width"},
    "noise": {0: "batch", 2: "rows", 3: "columns"},
    "x_t": {0: "batch", 2: "rows", 3: "columns"},
    "t": {0: "batch"},
}
"""Names of the axes of any size."""

Network = OneStep | VelocityNetwork | ExpertsNetwork


def write_onnx(
    path: Path, network: Network, reference: Network, about: Mapping[str, str], dtype: str
) -> float:
    """Write a network, after a comparison with PyTorch on three sizes.

    Args:
        path: File to write.
        network: Network in the type of the file.
        reference: The same network in float32.
        about: Metadata of the file, which `onnx_about` makes; the comparison is added.
        dtype: Key of `TOLERANCE`.

    Returns:
        The largest difference to `reference`.

    Raises:
        ValueError: If packages are missing, the weights are too large for one file, or the file
            gives other numbers than PyTorch. Nothing is written then.
    """
    _require_packages()
    size = sum(each.numel() * each.element_size() for each in network.parameters())
    if size > _LARGEST:
        raise ValueError(
            f"the weights have {size / 2**30:.1f} GiB, and an ONNX file holds at most 2: export "
            "with --dtype float16, or as .safetensors"
        )
    model = _model(network)
    difference = _difference(model.SerializeToString(), reference)
    if not difference <= TOLERANCE[dtype]:
        raise ValueError(
            f"{path}: not written, because ONNX Runtime differs from PyTorch by {difference:.1e}, "
            f"more than {TOLERANCE[dtype]:.0e}; check that the model is trained, and try "
            "--dtype float32"
        )
    sizes = ", ".join(f"{batch} x {height} x {width}" for batch, height, width in _CHECKED)
    checked = f"differs from PyTorch in float32 by {difference:.1e} on {sizes}"
    for key, value in {**about, "checked": checked}.items():
        model.metadata_props.add(key=key, value=value)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return difference


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(
            f"ONNX files need the package {error.name}: pip install onnx onnxruntime onnxscript"
        ) from error


def _model(network: Network) -> "onnx.ModelProto":
    """Return a network as an ONNX model."""
    if not isinstance(network, ExpertsNetwork):
        return traced(network)
    from lsr.export.onnx_experts import joined_by_time

    experts = [traced(network.expert(index)) for index in range(len(network.experts))]
    return joined_by_time(experts, network.boundaries)


def traced(network: OneStep | VelocityNetwork) -> "onnx.ModelProto":
    """Return a network without branches as an ONNX model."""
    axes = {
        name: {axis: torch.export.Dim(size) for axis, size in _AXES[name].items()}
        for name in network.inputs
    }
    arguments = network.example(*_TRACED, seed=0)
    with torch.no_grad():
        program = torch.export.export(network, arguments, dynamic_shapes=axes)
        model = torch.onnx.export(
            program,
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert model is not None
    proto = model.model_proto
    # The exporter notes for every node the line of code that it comes from, with our folders.
    for node in proto.graph.node:
        del node.metadata_props[:]
    return proto


def _difference(file: bytes, reference: Network) -> float:
    """Return the largest difference between the results of an ONNX model and of PyTorch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    largest = 0.0
    experts = len(reference.experts) if isinstance(reference, ExpertsNetwork) else 1
    for seed in range(max(len(_CHECKED), experts)):
        shape = _CHECKED[seed % len(_CHECKED)]
        arguments = reference.example(*shape, seed=seed)
        with torch.no_grad():
            wanted = reference(*arguments)
        given = {name: each.numpy() for name, each in zip(reference.inputs, arguments, strict=True)}
        for found, each in zip(session.run(None, given), wanted, strict=True):
            size = each.abs().max().clamp(min=1)
            difference = ((torch.from_numpy(found) - each).abs().max() / size).item()
            largest = max(largest, difference) if difference == difference else difference
    return largest
