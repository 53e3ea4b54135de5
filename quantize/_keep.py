"""Nodes that are to stay float, by name: of the node itself, or of a tensor that it computes.

Names are those of the lowered float graph (`Lowered.path`). What quantizers do to a graph before they round it
(smoothing, equalization) may rename one of the two, so that kept nodes are known by both from here on.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.native_operators import DOMAIN

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

_NEAR, _ALIKE = 3, 0.3
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def kept_outputs(
    keep: Sequence[str], nodes: Iterable[tuple[str, Sequence[str]]], where: str
) -> frozenset[str]:
    """Names of the kept nodes and of all tensors that they compute.

    Args:
        keep: Names of nodes, or of tensors that they compute.
        nodes: Name and outputs of every node of the graph.
        where: The part, for the error.

    Raises:
        UsageError: No node has such a name; the nearest ones are offered.
    """
    if not keep:
        return frozenset()
    found: dict[str, list[str]] = {}
    for name, outputs in nodes:
        for known in {name, *outputs} - {""}:
            found.setdefault(known, []).extend(filter(None, (name, *outputs)))
    for name in keep:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=_NEAR, cutoff=_ALIKE)
            raise UsageError(
                f"There is no node '{name}' to keep float",
                where=where,
                todo=f"Did you mean {' or '.join(map(repr, near))}? " * bool(near)
                + "Node names are those of one target's float graph: edgepack bisect shows them",
            )
    return frozenset(known for name in keep for known in found[name])


def kept_in_graph(keep: Sequence[str], graph: ir.Graph, part: str) -> frozenset[str]:
    """`kept_outputs` of an ONNX graph."""
    nodes = ((node.name or "", [value.name or "" for value in node.outputs]) for node in graph)
    return kept_outputs(keep, nodes, f"part {part}")


def kept_in_tflite(keep: Sequence[str], model: object, part: str) -> frozenset[str]:
    """`kept_outputs` of a TFLite model (`ModelT`), whose operators are called by their first output."""
    from edgepack.toolchain import tflite

    nodes = ((one.name, [tensor.name for tensor in one.outputs]) for one in tflite.operators(model))
    return kept_outputs(keep, nodes, f"part {part}")


def stays_float(node: ir.Node, kept: Collection[str]) -> bool:
    """Whether a node is a kept one, or a native operator, whose scales are float32 by its definition."""
    return node.domain == DOMAIN or node.name in kept or any(value.name in kept for value in node.outputs)


def named_kept(model: onnx.ModelProto, kept: frozenset[str]) -> list[str]:
    """Names of a model's kept nodes and of its native operators, all of whose nodes have one."""
    nodes = model.graph.node
    return [n.name for n in nodes if n.domain == DOMAIN or kept.intersection((n.name, *n.output))]


def with_activations(model: onnx.ModelProto, kept: frozenset[str]) -> frozenset[str]:
    """The kept names, and those of Relu and Clip nodes whose results kept nodes read.

    ONNX Runtime's quantizer leaves such nodes out where the rounding that follows does their work: unrounded
    results could not be read without them.
    """
    nodes = model.graph.node
    read = {name for node in nodes if kept.intersection((node.name, *node.output)) for name in node.input}
    found = [node for node in nodes if node.op_type in {"Relu", "Clip"} and read.intersection(node.output)]
    return kept.union(*((node.name, *node.output) for node in found))


def read_float(model: onnx.ModelProto, kept: frozenset[str]) -> int:
    """Let kept nodes read their inputs unrounded; returns how many inputs.

    ONNX Runtime's quantizer rounds a tensor for all its readers as soon as one of them wants it in int8. Pairs that
    nobody reads any more are dropped, with their scales.

    Args:
        model: In QDQ form; changed in place.
        kept: Names of kept nodes and of what they compute.
    """
    graph = model.graph
    maker = {name: node for node in graph.node for name in node.output}
    rounded: dict[str, str] = {}  # from a dequantized tensor to the float one it was
    for node in graph.node:
        source = maker.get(node.input[0]) if node.op_type == _DEQUANTIZE else None
        if source is not None and source.op_type == _QUANTIZE:
            rounded[node.output[0]] = source.input[0]
    changed = 0
    for node in graph.node:
        if node.op_type in {_QUANTIZE, _DEQUANTIZE} or not kept.intersection((node.name, *node.output)):
            continue
        for index, name in enumerate(node.input):
            if name in rounded:
                node.input[index] = rounded[name]
                changed += 1
    dropped: set[str] = set()
    for op in (_DEQUANTIZE, _QUANTIZE):
        used = _used(graph)
        for node in [one for one in graph.node if one.op_type == op and used.isdisjoint(one.output)]:
            dropped.update(node.input)
            graph.node.remove(node)
    dropped -= _used(graph)
    for constant in [one for one in graph.initializer if one.name in dropped]:
        graph.initializer.remove(constant)
    return changed


def _used(graph: onnx.GraphProto) -> set[str]:
    """Names that a node reads, or that the graph gives."""
    return {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
