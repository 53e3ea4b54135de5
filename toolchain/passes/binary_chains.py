"""`binary-chains`: between two layers of one bit the activations stay bits.

A layer gives alpha d + bias, with d a whole number, and the next one reads only the sign of f(alpha d + bias) + shift,
where f is what stands between: BatchNormalization, scales, an activation function. So the bit is a function of d,

    b_n(d) = [ f_n(alpha_n d + bias_n) < -shift_n ],    d = -T, ..., T,    T the products of a sum

and the first layer can tell it from d alone where the d with b_n(d) = 1 lie side by side: then `low` and `high` take
the place of alpha, bias, f and shift (`runtime/kernels/_function_bodies.py`), and 32 times fewer bytes go from layer to
layer.

b_n is found by computing it, for every d, with the runtime that computes the model (`_sums_to_bits`); nothing is
assumed of f but that each channel's values come from that channel's alone. So the bits are the same ones.

Values that something else reads as well stay what they are, a shortcut's for one; `chained` gives the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.toolchain.native_operators import DOMAIN, add_functions
from edgepack.toolchain.passes._binary_layers import Layer, Unfit, layer_of
from edgepack.toolchain.passes._binary_links import Link, link_to
from edgepack.toolchain.passes._sums_to_bits import intervals
from edgepack.toolchain.passes.base import passes

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Decision:
    """What becomes of the values that a layer reads.

    Attributes:
        layer: The layer's name, or that of its output.
        reason: Why they stay floats; None if they become bits.
    """

    layer: str
    reason: str | None


@passes.register("binary-chains")
def binary_chains(model: ir.Model) -> int:
    """Let bits go from layer to layer; returns between how many layers."""
    return sum(decision.reason is None for decision in chained(model))


def chained(model: ir.Model) -> list[Decision]:
    """Do it, and say of every layer that reads floats what came of it."""
    decisions = []
    for graph in model.graphs():
        for node in list(graph):
            target = layer_of(node)
            if target is None or target.bits_in:
                continue
            try:
                link = link_to(target)
                low, high = intervals(link, model)
                _rewrite(link, low, high)
                reason = None
            except Unfit as unfit:
                reason = str(unfit)
            decisions.append(Decision(node.name or node.outputs[0].name or "", reason))
    if any(decision.reason is None for decision in decisions):
        add_functions(model)
    return decisions


def _rewrite(link: Link, low: ir.TensorProtocol, high: ir.TensorProtocol) -> None:
    """Give the source bits to write, and the target bits to read."""
    import onnx_ir as ir

    source, target = link.source, link.target
    graph = source.node.graph
    assert isinstance(graph, ir.Graph)  # noqa: S101 - nodes of functions are not looked at
    result = source.node.outputs[0]
    for place, tensor in ((2, low), (3, high)):
        source.node.replace_input_with(place, _initializer(graph, f"{result.name}/{tensor.name}", tensor))
    _rename(source, bits_in=source.bits_in, bits_out=True)
    value = result
    for node in link.shape_nodes(graph):
        node.replace_input_with(0, value)
        value = node.outputs[0]
    target.node.replace_input_with(0, value)
    if link.weights is not None:
        weights = _initializer(graph, f"{value.name}/weights", link.weights)
        target.node.replace_input_with(1, weights)
    target.node.resize_inputs(4)  # bits have no shift
    _rename(target, bits_in=True, bits_out=target.bits_out)
    for one in (result, *(node.outputs[0] for node in link.shapes)):
        # Sizes are inferred anew: a byte is eight channels.
        one.type, one.shape = ir.TensorType(ir.DataType.UINT8), None
    graph.remove(list(reversed(link.between)), safe=True)


def _initializer(graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    import onnx_ir as ir

    tensor.name = name
    made = ir.Value(name=name, type=ir.TensorType(tensor.dtype), const_value=tensor)
    made.shape = ir.Shape(tensor.shape.numpy())
    graph.register_initializer(made)
    return made


def _rename(layer: Layer, *, bits_in: bool, bits_out: bool) -> None:
    forms = {(False, True): "Pack", (True, True): "Bits", (True, False): "Unpack"}
    assert layer.node.domain == DOMAIN  # noqa: S101 - what layer_of looks for
    layer.node.op_type = layer.kind + forms.get((bits_in, bits_out), "")
