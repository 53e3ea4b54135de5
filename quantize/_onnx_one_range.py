"""One range for all that a scatter moves: kernels that move integers and do not look at their scales.

    y = ScatterElements(d, indices, u)      y_i is an integer of d or of u, as it was stored

With scales of their own, an update written into a cache came out as another number, in 8 and in 16 bits, at constant
and at given positions (onnxruntime-qnn 2.7.0, v75, in its simulator). With one range over d, u and y it is copied
right; so is it in a chain of scatters, whose ranges become one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

_MOVED = (0, 2)
"""Inputs of a scatter whose values it moves: data and updates."""
_LAYOUTS = frozenset(
    {"Transpose", "Reshape", "Split", "Squeeze", "Unsqueeze", "Slice", "Flatten", "Identity"}
)
SCATTERS: Mapping[str, tuple[int, ...]] = {"ScatterElements": _MOVED, "ScatterND": _MOVED}


def one_range(
    model: onnx.ModelProto, found: Mapping[str, tuple[Any, Any]]
) -> tuple[dict[str, tuple[Any, Any]], dict[str, tuple[float, float]]]:
    """Ranges by activation with those of every scatter made one, and the ranges that its constants take.

    Args:
        model: The float model with weights in memory; no constant of a scatter has another reader (`own_constants`).
        found: Lowest and highest value of every activation, float32 scalars.
    """
    import numpy as np
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    group: dict[str, set[str]] = {}
    for node in model.graph.node:
        if node.op_type not in SCATTERS:
            continue
        moved = {node.output[0], *(node.input[place] for place in SCATTERS[node.op_type])}
        if not moved <= {*found, *constants}:
            continue  # integers, which have no range
        moved |= {origin for name in moved for origin in _laid_out(name, producers) if origin in found}
        joined = set().union(*(group.get(name, {name}) for name in moved))
        group |= dict.fromkeys(joined, joined)
    ranges = dict(found)
    fixed: dict[str, tuple[float, float]] = {}
    for name, members in group.items():
        known = [found[one] for one in members if one in found]
        known += [
            (values.min(), values.max())
            for values in (numpy_helper.to_array(constants[one]) for one in members if one in constants)
            if values.size
        ]
        low, high = min(float(one[0]) for one in known), max(float(one[1]) for one in known)
        if name in constants:
            fixed[name] = (low, high)
        else:
            ranges[name] = (np.float32(low).reshape(()), np.float32(high).reshape(()))
    return ranges, fixed


def _laid_out(name: str, producers: Mapping[str, onnx.NodeProto]) -> list[str]:
    """The tensors that one was laid out from."""
    found: list[str] = []
    node = producers.get(name)
    while node is not None and node.op_type in _LAYOUTS:
        found.append(node.input[0])
        node = producers.get(node.input[0])
    return found


def converted(model: onnx.ModelProto) -> int:
    """Give what scatters move the scale of their result, where it has another; returns how many pairs were added.

    Args:
        model: With pairs around its operators.
    """
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}

    def levels(pair: onnx.NodeProto) -> list[bytes]:
        return [numpy_helper.to_array(constants[name]).tobytes() for name in pair.input[1:3]]

    count = 0
    for node in [one for one in graph.node if one.op_type in SCATTERS]:
        result = next(
            (one for one in graph.node if one.op_type == "QuantizeLinear" and one.input[0] == node.output[0]),
            None,
        )
        if result is None:
            continue
        for place in SCATTERS[node.op_type]:
            pair = producers.get(node.input[place])
            if pair is None or pair.op_type != "DequantizeLinear" or levels(pair) == levels(result):
                continue
            label = f"{node.output[0]}/moved-{place}"
            quantize, restore = onnx.NodeProto(), onnx.NodeProto()
            quantize.CopyFrom(result)
            restore.CopyFrom(pair)
            quantize.name, restore.name = f"{label}/quantize", f"{label}/restore"
            quantize.input[0], quantize.output[0] = node.input[place], f"{label}/integers"
            restore.input[:] = [f"{label}/integers", *result.input[1:]]
            restore.output[0] = label
            graph.node.extend([quantize, restore])
            node.input[place] = label
            count += 1
    return count
