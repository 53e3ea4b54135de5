"""Which nodes of a graph with QuantizeLinear and DequantizeLinear are computed with integers.

In such a graph a real number x is followed by the pair that rounds it,

    x' = scale (clip(round(x / scale) + zero_point) - zero_point),

and a node between pairs, y = f(x'), is what an integer kernel computes in one step: q_x -> q_y. A node is computed so
when every real input comes out of a DequantizeLinear, every output goes into QuantizeLinear of one scale, all are of
one integer type that its TFLite kernel has, and there is one scale a tensor. A node that only moves numbers needs no
QuantizeLinear behind it: its integers keep their scale. All others are computed in float, between DEQUANTIZE and
QUANTIZE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepack.targets.mobile._tflite import dtypes
from edgepack.targets.mobile._tflite.base import operators
from edgepack.targets.mobile._tflite.quantization import SIGNED, Quantization
from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import onnx_ir as ir

INTEGERS = frozenset({"int8", "uint8", "int16", "uint16", "int32", "int4", "uint4"})


@dataclass(frozen=True)
class Plan:
    """How a node is computed.

    Attributes:
        integer: "int8" or "int16", None for float.
        results: Quantization of each output.
    """

    integer: str | None
    results: tuple[Quantization | None, ...]


def parameters(node: ir.Node) -> tuple[str, Quantization] | None:
    """TFLite's integer type and parameters of a QuantizeLinear or DequantizeLinear; None where it has none.

    Unsigned types become signed ones; scales along an axis keep it; blocks of an axis have no place in TFLite.
    """
    from edgepack.targets.mobile._tflite.prepare import scalar_or_vector

    scale = scalar_or_vector(node.inputs[1])
    if scale is None or scale.ndim > 1 or (node.attributes.get_int("block_size") or 0) > 0:
        return None
    zero = scalar_or_vector(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None  # noqa: PLR2004
    if len(node.inputs) > 2 and node.inputs[2] is not None and zero is None:  # noqa: PLR2004
        return None
    end = node.inputs[0] if node.op_type == "DequantizeLinear" else node.outputs[0]
    dtype = dtypes.name(end.dtype if end is not None else None)
    if dtype is None or dtype not in INTEGERS:
        return None
    scales = np.atleast_1d(scale).astype(np.float32)
    zeros = np.zeros(len(scales), np.int64) if zero is None else np.atleast_1d(zero).astype(np.int64)
    if dtype in SIGNED:
        dtype, offset = SIGNED[dtype]
        zeros = zeros - offset
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        return None
    axis = node.attributes.get_int("axis", 1)
    rank = len(end.shape) if end is not None and end.shape is not None else 0
    return dtype, Quantization(scales, zeros, axis % rank if rank and len(scales) > 1 else 0)


def plans(graph: ir.Graph) -> dict[ir.Node, Plan]:
    """How every node of a graph is computed; nodes in order of execution."""
    made: dict[ir.Node, Plan] = {}
    held: dict[ir.Value, tuple[str, Quantization]] = {}
    for node in graph:
        if standard(node, "DequantizeLinear"):
            found = parameters(node)
            if found is not None:
                held[node.outputs[0]] = found
            continue
        if standard(node, "QuantizeLinear"):
            continue
        plan = _plan(node, held)
        made[node] = plan
        if plan.integer is not None:
            for value, result in zip(node.outputs, plan.results, strict=True):
                if result is not None:
                    held[value] = (plan.integer, result)
    return made


def _plan(node: ir.Node, held: dict[ir.Value, tuple[str, Quantization]]) -> Plan:
    plain = Plan(None, (None,) * len(node.outputs))
    if node.op_type not in operators:
        return plain
    member = operators.get(node.op_type)
    inputs = [value for value in node.inputs if value is not None and _real(value) and not _weight(value)]
    if not member.integer or not inputs or any(value not in held for value in inputs):
        return plain
    found = [held[value] for value in inputs]
    kind = found[0][0]
    if kind not in member.integer or any(dtype != kind or not q.per_tensor for dtype, q in found):
        return plain
    if kind == "int16" and not all(q.symmetric for _, q in found):
        return plain
    results: list[Quantization | None] = []
    for value in node.outputs:
        if not value.uses() and not value.is_graph_output():
            results.append(found[0][1])
            continue
        if not _real(value):
            results.append(None)
            continue
        after = _after(value)
        if after is not None and after[0] == kind and (kind != "int16" or after[1].symmetric):
            results.append(after[1])
        elif member.moves:
            results.append(found[0][1])
        else:
            return plain
    return Plan(kind, tuple(results))


def _after(value: ir.Value) -> tuple[str, Quantization] | None:
    """The type and parameters of the QuantizeLinear that is all that reads a value."""
    if value.is_graph_output() or not value.uses():
        return None
    found = None
    for use in value.uses():
        if not standard(use.node, "QuantizeLinear") or use.idx != 0:
            return None
        own = parameters(use.node)
        if own is None or not own[1].per_tensor:
            return None
        if found is not None and (own[0] != found[0] or not own[1].same(found[1])):
            return None
        found = own
    return found


def _real(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()


def _weight(value: ir.Value) -> bool:
    """Whether a value is a constant: an initializer, or one that is quantized or dequantized."""
    if value.const_value is not None and not value.is_graph_input():
        return True
    producer = value.producer()
    return (
        producer is not None
        and standard(producer, "DequantizeLinear", "QuantizeLinear")
        and producer.inputs[0] is not None
        and _weight(producer.inputs[0])
    )


def signed(raw: np.ndarray, dtype: str) -> np.ndarray:
    """A constant's integers in the signed type that stands in for theirs."""
    if dtype not in SIGNED:
        return raw
    target, offset = SIGNED[dtype]
    kind = np.int8 if target == "int4" else np.dtype(target)
    return (raw.astype(np.int32) - offset).astype(kind)


__all__ = ["INTEGERS", "Plan", "array", "parameters", "plans", "signed"]
