"""A quantized network taken apart: every operator by itself, on the integers that ONNX Runtime has in front of it.

Along a whole network every rounding is inherited, and soon nothing can be told apart from it. Here nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from tests.targets.mobile.tflite import harness


def apart(
    model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]
) -> tuple[onnx.ModelProto, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The pieces between QuantizeLinear and QuantizeLinear, side by side in one model.

    Args:
        model: In QDQ form, as `quantize.quantized` writes it.
        feeds: What it is given.

    Returns:
        The model, what its inputs are given, and the integers that ONNX Runtime has where its outputs are.
    """
    whole = onnx.shape_inference.infer_shapes(model)
    rounded = [node for node in whole.graph.node if node.op_type == "QuantizeLinear"]
    infos = {info.name: info for info in whole.graph.value_info}
    del whole.graph.output[:]
    whole.graph.output.extend(infos[node.output[0]] for node in rounded)
    values = harness.expected(whole, feeds)
    found = dict(zip([node.output[0] for node in rounded], values, strict=True)) | dict(feeds)
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    given: dict[str, np.ndarray] = {}
    wanted: dict[str, np.ndarray] = {}
    used: set[str] = set()
    for index, last in enumerate(rounded):
        names: dict[str, str] = {}
        piece: list[onnx.NodeProto] = []
        _collect(last.output[0], makers, constants, piece, names, f"piece{index}/")
        nodes += piece
        used |= {name for node in piece for name in node.input if name in constants}
        given |= {name: found[name] for node in piece for name in node.input if name in found}
        wanted[names[last.output[0]]] = found[last.output[0]]
    inputs = [harness.value_info(name, array) for name, array in given.items()]
    outputs = [harness.value_info(name, array) for name, array in wanted.items()]
    graph = helper.make_graph(nodes, "pieces", inputs, outputs, [constants[name] for name in sorted(used)])
    made = helper.make_model(graph, opset_imports=list(model.opset_import))
    made.ir_version = model.ir_version
    return made, given, wanted


def _collect(
    name: str,
    makers: Mapping[str, onnx.NodeProto],
    constants: Mapping[str, onnx.TensorProto],
    piece: list[onnx.NodeProto],
    names: dict[str, str],
    prefix: str,
) -> None:
    """Copies of the node that makes `name`, and of all before it up to the last rounding, in order."""
    node = onnx.NodeProto()
    node.CopyFrom(makers[name])
    for at, source in enumerate(node.input):
        if source in constants or source not in makers or makers[source].op_type == "QuantizeLinear":
            continue
        if source not in names:
            _collect(source, makers, constants, piece, names, prefix)
        node.input[at] = names[source]
    for at, made in enumerate(node.output):
        names[made] = node.output[at] = f"{prefix}{made}"
    node.name = f"{prefix}{node.name}"
    piece.append(node)
