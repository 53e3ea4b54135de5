"""Turns a float32 graph into a float16 one whose inputs and outputs stay float32, by ONNX Runtime's own converter.

Constants beyond float16's largest value become that value (a mask of -3.4e38 becomes -65504, which masks as well);
operators that the converter knows to need float32 keep it, between casts.

What computes in float16 is up to the processor: ONNX Runtime has float16 kernels for ARM's float16 instructions. On
x86 it has next to none, and puts casts to float32 around the operators: smaller files, and no speed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.quantize._keep import named_kept
from edgepack.toolchain.native_operators import DOMAIN

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


def half_model(path: Path, kept: frozenset[str] = frozenset()) -> tuple[ir.Model, int]:
    """The float16 form of an ONNX file, its weights in memory, and how many nodes compute on float16 in it.

    Nodes that compute a tensor named in `kept` stay float32.
    """
    import onnx
    import onnx_ir as ir
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(path, load_external_data=False)
    # Inference reads no large weights, and a graph with them would not fit into protobuf above 2 GB.
    model = onnx.shape_inference.infer_shapes(model)
    onnx.load_external_data_for_model(model, str(path.parent))
    before = {name for node in model.graph.node for name in node.output}
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}:{index}"  # nodes are blocked by name
    blocked = named_kept(model, kept)
    constants = _exact_constants(model)
    converted = convert_float_to_float16(
        model, keep_io_types=True, disable_shape_infer=True, node_block_list=blocked
    )
    _give_back(converted, constants)
    count = _changed(converted, before)
    del converted.graph.value_info[:]  # some still say float32
    result = ir.serde.deserialize_model(converted)
    result.graph.sort()
    return result, count


def _exact_constants(model: onnx.ModelProto) -> dict[str, list[tuple[int, onnx.TensorProto]]]:
    """The constants that stay as they are: node -> input and tensor.

    Those of native operators are exact by their definition. A Resize's scales are float32 in every type, and behind a
    Cast nothing would know any more what size it makes.
    """
    import onnx

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, list[tuple[int, onnx.TensorProto]]] = {}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            exact = node.domain == DOMAIN or (node.op_type == "Resize" and index > 0)
            if exact and name in tensors:
                copied = onnx.TensorProto()
                copied.CopyFrom(tensors[name])
                copied.name = f"{name}/as given"
                found.setdefault(node.name, []).append((index, copied))
    return found


def _give_back(converted: onnx.ModelProto, constants: dict[str, list[tuple[int, onnx.TensorProto]]]) -> None:
    """Let nodes read their own constants, where the converter has put a rounded one and a Cast."""
    graph = converted.graph
    given: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        for index, tensor in constants.get(node.name, ()):
            node.input[index] = tensor.name
            given[tensor.name] = tensor
    graph.initializer.extend(given.values())
    if given:
        used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        for node in [n for n in graph.node if n.op_type == "Cast" and used.isdisjoint(n.output)]:
            graph.node.remove(node)
        used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        for tensor in [t for t in graph.initializer if t.name not in used]:
            graph.initializer.remove(tensor)


def _changed(model: onnx.ModelProto, before: set[str]) -> int:
    """Nodes of the original that read a float16 tensor."""
    import onnx

    half = onnx.TensorProto.FLOAT16
    graph = model.graph
    names = {initializer.name for initializer in graph.initializer if initializer.data_type == half}
    names |= {info.name for info in graph.value_info if info.type.tensor_type.elem_type == half}
    for node in graph.node:
        if node.op_type == "Cast" and any(a.name == "to" and a.i == half for a in node.attribute):
            names.update(node.output)
    added = ("Cast",)
    return sum(
        1
        for node in graph.node
        if names.intersection(node.input) and not (node.op_type in added and before.isdisjoint(node.output))
    )
