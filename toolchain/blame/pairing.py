"""A float ONNX graph and its quantized form, side by side: which tensors are the same, and how they are read.

Quantizers keep the names of the tensors that both graphs compute. In QDQ form

    t -> QuantizeLinear -> DequantizeLinear -> reader

the rounding of t is an error of its reader: what is lost of a tensor with outliers shows in the reader's result, and
hardly in the tensor itself. There is one exception. ONNX Runtime's quantizer leaves out a Relu or Clip where the
rounding behind it does the clipping as well, and gives the unclipped tensor the clipped one's name; there, the
quantized graph's t is the end of the chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

FLOATS = frozenset({"FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"})
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_CLIPS = frozenset({"Relu", "Clip"})


@dataclass(frozen=True)
class Layer:
    """A node of the float graph, and the floating-point tensors it computes that both graphs have.

    Attributes:
        name: The node's name where it is its own, else its first tensor's: what `keep` takes.
        op: Its operator; two of them where a Relu or Clip was left out behind it.
        tensors: Names of its tensors.
    """

    name: str
    op: str
    tensors: tuple[str, ...]


def layers(float_path: Path, quantized: ir.Graph) -> list[Layer]:
    """The layers of a float file that can be compared with its quantized graph, in graph order."""
    import onnx
    import onnx_ir as ir

    proto = onnx.shape_inference.infer_shapes(onnx.load(float_path, load_external_data=False), data_prop=True)
    graph = ir.serde.deserialize_model(proto).graph
    names = [node.name for node in graph]
    theirs = computed(quantized)
    found = []
    for node in graph:
        tensors = tuple(
            value.name
            for value in node.outputs
            if value.name in theirs and value.dtype is not None and value.dtype.name in FLOATS
        )
        if not tensors:
            continue
        maker, op = node, node.op_type
        before = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        if before is not None and is_clipped_later(node.outputs[0], theirs[tensors[0]]):
            # What is rounded is the node before; the Relu or Clip is part of it.
            maker, op = before, f"{before.op_type}+{op}"
        own = bool(maker.name) and names.count(maker.name) == 1
        found.append(Layer(str(maker.name if own else maker.outputs[0].name), op, tensors))
    return found


def computed(graph: ir.Graph) -> dict[str, ir.Value]:
    """Every tensor that a node of the main graph makes, by name."""
    return {str(value.name): value for node in graph for value in node.outputs if value.name}


def is_clipped_later(own: ir.Value, value: ir.Value) -> bool:
    """Whether a tensor of a quantized graph lacks the Relu or Clip that makes the float graph's."""
    theirs, ours = own.producer(), value.producer()
    return (
        theirs is not None
        and ours is not None
        and theirs.op_type in _CLIPS
        and ours.op_type != theirs.op_type
    )


def taken_for(own: ir.Value, value: ir.Value) -> ir.Value:
    """What stands in a quantized graph for a tensor of the float graph: its namesake, clipped.

    Args:
        own: The float graph's.
        value: The quantized graph's tensor of that name.
    """
    rounded = _rounded(value) if is_clipped_later(own, value) else None
    return value if rounded is None else rounded


def _rounded(value: ir.Value) -> ir.Value | None:
    readers = [use.node for use in value.uses()]
    if value.is_graph_output() or len(readers) != 1 or readers[0].op_type != _QUANTIZE:
        return None
    after = [use.node for use in readers[0].outputs[0].uses()]
    if readers[0].inputs[0] is not value or len(after) != 1 or after[0].op_type != _DEQUANTIZE:
        return None
    return after[0].outputs[0]


def prefix(model: ir.Model, text: str) -> None:
    """Put `text` before the name of every value and node of a model, those of subgraphs included."""
    for graph in model.graphs():
        values = {id(v): v for node in graph for v in node.outputs}
        values |= {id(v): v for v in (*graph.inputs, *graph.initializers.values())}
        initializers = list(graph.initializers.values())
        graph.initializers.clear()
        for value in values.values():
            if value.name:
                value.name = f"{text}{value.name}"
        for value in initializers:
            if value.const_value is not None:
                value.const_value.name = value.name
            graph.initializers.add(value)
        for node in graph:
            node.name = f"{text}{node.name or ''}"


def adopt(graph: ir.Graph, other: ir.Model, inputs: Mapping[str, ir.Value]) -> None:
    """Move all nodes and initializers of another model's main graph to the end of `graph`.

    Args:
        graph: Receives them.
        other: Is used up; its names must not clash.
        inputs: What its graph inputs are to be, by name.
    """
    import onnx_ir as ir

    source = other.graph
    for value in list(source.inputs):
        ir.convenience.replace_all_uses_with(value, inputs[str(value.name)])
    initializers = list(source.initializers.values())
    source.initializers.clear()
    for value in initializers:
        if not value.is_graph_input():
            graph.register_initializer(value)
    source.outputs.clear()
    nodes = list(source)
    source.remove(nodes)
    graph.extend(nodes)
    for domain, version in source.opset_imports.items():
        graph.opset_imports.setdefault(domain, version)
