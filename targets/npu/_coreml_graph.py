"""An ONNX graph with static shapes, as the worker that has coremltools takes it: JSON, and constants in an `.npz`.

Core ML has 32-bit integers only. 64-bit ones become those, constants by value: one that does not fit is refused, but
for the largest and smallest of all, which stand for "to the end" in a Slice.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import TargetError

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_NARROWED = {"int64": "int32", "float64": "float32"}
_TAKEN = {"float32", "float16", "int32", "bool"}
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_INT32 = (-(2**31), 2**31 - 1)


def described(model: ir.Model, constants: Path, target: str, part: str) -> dict[str, Any]:
    """The graph for a request; its constants are written to a file.

    Args:
        model: Static shapes everywhere.
        constants: Receives them, in the order of the graph's "constants".
        target: For messages.
        part: For messages.

    Raises:
        TargetError: A shape is not known, a type or a subgraph has no place in Core ML, or a constant does not fit.
    """
    import numpy as np

    graph = model.graph
    values: dict[str, np.ndarray] = {}
    for name, value in graph.initializers.items():
        if value.const_value is not None:
            values[str(name)] = _fitting(value.const_value.numpy(), str(name), target)
    nodes = []
    for index, node in enumerate(graph):
        label = node.name or f"{node.op_type} {index}"
        if node.domain not in {"", "ai.onnx"}:
            raise _cannot(
                target, part, f"the operator {node.domain}.{node.op_type} ({label}) is not one of ONNX's"
            )
        if node.op_type == "Constant":
            held = node.outputs[0].const_value
            if held is None:
                raise _cannot(target, part, f"{label} is a constant of a kind that is not read")
            values[str(node.outputs[0].name)] = _fitting(held.numpy(), label, target)
            continue
        nodes.append(
            {
                "name": label,
                "op": node.op_type,
                "inputs": ["" if one is None else str(one.name) for one in node.inputs],
                "outputs": [str(one.name) for one in node.outputs if one.name],
                "attributes": {
                    name: _attribute(one, label, target, part) for name, one in node.attributes.items()
                },
            }
        )
    shapes = {str(one.name): _shape(one, target, part) for node in graph for one in node.outputs if one.name}
    np.savez(constants, *values.values())
    return {
        "inputs": [_input(one, target, part) for one in graph.inputs],
        "outputs": [_named(str(one.name), target, part) for one in graph.outputs],
        "nodes": nodes,
        "constants": list(values),
        "shapes": shapes,
    }


def _input(value: ir.Value, target: str, part: str) -> dict[str, Any]:
    kind = "" if value.dtype is None else str(value.dtype.numpy())
    kind = _NARROWED.get(kind, kind)
    if kind not in _TAKEN:
        raise _cannot(target, part, f"the input {value.name} is of {kind or 'an unknown type'}")
    return {
        "name": _named(str(value.name), target, part),
        "dtype": kind,
        "shape": _shape(value, target, part),
    }


def _named(name: str, target: str, part: str) -> str:
    if not _IDENTIFIER.fullmatch(name):
        raise _cannot(
            target, part, f"the name {name!r} is no identifier, which Core ML asks of inputs and outputs"
        )
    return name


def _shape(value: ir.Value, target: str, part: str) -> list[int]:
    sizes = None if value.shape is None else list(value.shape)
    if sizes is None or not all(isinstance(size, int) for size in sizes):
        raise _cannot(target, part, f"the shape of {value.name} is not known before it runs")
    return [size for size in sizes if isinstance(size, int)]


def _attribute(attribute: Any, label: str, target: str, part: str) -> Any:
    value = attribute.value
    if attribute.type.name in {"GRAPH", "GRAPHS", "TENSOR", "TENSORS", "SPARSE_TENSOR"}:
        raise _cannot(target, part, f"{label} holds a {attribute.type.name.lower().replace('_', ' ')}")
    return list(value) if isinstance(value, (tuple, list)) else value


def _fitting(array: np.ndarray, name: str, target: str) -> np.ndarray:
    import numpy as np

    kind = str(array.dtype)
    if kind == "int64":
        ends = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)
        clipped = np.where(np.isin(array, ends), np.clip(array, *_INT32), array)
        if clipped.size and (clipped.min() < _INT32[0] or clipped.max() > _INT32[1]):
            raise TargetError(f"The constant {name} does not fit into 32 bits", where=target)
        return clipped.astype(np.int32)
    return array.astype(_NARROWED[kind]) if kind in _NARROWED else array


def _cannot(target: str, part: str, why: str) -> TargetError:
    return TargetError(
        f"{target} cannot take this model: {why}", where=f"part {part}", todo="Use another target"
    )
