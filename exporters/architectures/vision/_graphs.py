"""Looking for a structure in exported graphs by values and paths, for the `lost` functions of vision networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir


def constants(model: ir.Model, operator: str) -> Iterator[np.ndarray]:
    """Values of the constant inputs of all nodes of a type, without leading dimensions of size 1."""
    for node in model.graph.all_nodes():
        if node.op_type != operator:
            continue
        for value in node.inputs:
            tensor = None if value is None else _constant(value)
            if tensor is not None:
                yield tensor.reshape(tensor.shape[_ones(tensor.shape) :])


def feeders(value: ir.Value | None) -> set[str]:
    """Types of all the nodes that a value is computed by."""
    found: set[str] = set()
    seen: set[int] = set()
    left = [value]
    while left:
        one = left.pop()
        node = None if one is None else one.producer()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        found.add(node.op_type)
        left += node.inputs
    return found


def _constant(value: ir.Value) -> np.ndarray | None:
    if value.const_value is not None:
        return value.const_value.numpy()
    node = value.producer()
    if node is None or node.op_type != "Constant" or "value" not in node.attributes:
        return None
    return np.asarray(node.attributes["value"].as_tensor().numpy())


def _ones(shape: tuple[int, ...]) -> int:
    count = 0
    while count < len(shape) and shape[count] == 1:
        count += 1
    return count
