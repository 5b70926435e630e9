"""Join the ONNX models of several experts into one, of which the input `t` chooses an expert."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

_TIME = "first_time"


def joined_by_time(experts: Sequence[ModelProto], boundaries: Sequence[float]) -> ModelProto:
    """Return a model that runs one of several models.

    Args:
        experts: Models of the same inputs, among them `t` (B,), and the same outputs.
        boundaries: Increasing times, one fewer than experts. Expert i runs if the first time of the
            batch is in [boundaries[i - 1], boundaries[i]), as in `lsr.models.mixture`.
    """
    names = [value.name for value in experts[0].graph.output]
    branch = _branch(experts[-1], len(experts) - 1)
    condition: list[NodeProto] = []
    constants: list[TensorProto] = [numpy_helper.from_array(np.array(0), "first")]
    for i in reversed(range(len(boundaries))):
        edge = numpy_helper.from_array(np.array(boundaries[i], np.float32), f"boundary{i}")
        constants.append(edge)
        condition.append(helper.make_node("Less", [_TIME, edge.name], [f"before{i}"]))
        results = names if i == 0 else [f"choice{i}/{name}" for name in names]
        choice = helper.make_node(
            "If",
            [f"before{i}"],
            results,
            then_branch=_branch(experts[i], i),
            else_branch=branch,
        )
        branch = helper.make_graph([choice], f"choice{i}", [], _values(experts[0], results))
    first = helper.make_node("Gather", ["t", "first"], [_TIME])
    last = branch.node[0]
    graph = helper.make_graph(
        [first, *condition, last],
        "experts",
        experts[0].graph.input,
        experts[0].graph.output,
        constants,
    )
    return helper.make_model(
        graph, opset_imports=experts[0].opset_import, ir_version=experts[0].ir_version
    )


def _branch(expert: ModelProto, index: int) -> GraphProto:
    """Return the graph of an expert, whose names begin with its index, without inputs."""
    outer = {value.name for value in expert.graph.input} | {""}

    def own(name: str) -> str:
        return name if name in outer else f"expert{index}/{name}"

    graph = onnx.GraphProto()
    graph.CopyFrom(expert.graph)
    del graph.input[:]
    del graph.value_info[:]
    for node in graph.node:
        node.name = own(node.name)
        node.input[:] = [own(name) for name in node.input]
        node.output[:] = [own(name) for name in node.output]
    for named in (*graph.initializer, *graph.output):
        named.name = own(named.name)
    graph.name = f"expert{index}"
    return graph


def _values(expert: ModelProto, names: Sequence[str]) -> list[onnx.ValueInfoProto]:
    """Return the outputs of an expert under other names."""
    values = []
    for value, name in zip(expert.graph.output, names, strict=True):
        values.append(onnx.ValueInfoProto())
        values[-1].CopyFrom(value)
        values[-1].name = name
    return values
