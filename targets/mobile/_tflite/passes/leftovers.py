"""What translation leaves behind: equal operators, reshapes of reshapes, transposes that move nothing."""

from __future__ import annotations

from collections.abc import Hashable

from edgepack.targets.mobile._tflite.graph import Graph, Operator, Tensor
from edgepack.targets.mobile._tflite.passes.layout import order_of

_COPIED = frozenset({"TRANSPOSE", "RESHAPE", "DEQUANTIZE", "QUANTIZE", "CAST", "SHAPE"})
_OF_SIZES = frozenset({"SLICE", "CONCATENATION", "STRIDED_SLICE", "ADD"})
"""What vectors of sizes are computed with, again and again the same ones."""


def drop_unused(graph: Graph) -> int:
    """Remove operators whose results nothing reads; returns how many."""
    needed = set(graph.outputs.values())
    kept: list[Operator] = []
    for operator in reversed(graph.operators):
        if any(tensor in needed for tensor in operator.outputs):
            kept.append(operator)
            needed.update(tensor for tensor in operator.inputs if tensor is not None)
    removed = len(graph.operators) - len(kept)
    graph.operators = kept[::-1]
    return removed


def share_equal(graph: Graph) -> int:
    """Keep one of several operators that do the same to the same tensor; returns how many went."""
    seen: dict[Hashable, Tensor] = {}
    same: dict[Tensor, Tensor] = {}
    kept: list[Operator] = []
    outputs = set(graph.outputs.values())
    for operator in graph.operators:
        operator.inputs = [same.get(t, t) if t is not None else None for t in operator.inputs]
        result = operator.outputs[0]
        copied = operator.code in _COPIED or (operator.code in _OF_SIZES and result.dtype == "int32")
        key = _key(operator) if copied and result not in outputs else None
        if key is not None and key in seen:
            same[result] = seen[key]
            continue
        if key is not None:
            seen[key] = result
        kept.append(operator)
    removed = len(graph.operators) - len(kept)
    graph.operators = kept
    return removed


def _key(operator: Operator) -> Hashable:
    result, q = operator.outputs[0], operator.outputs[0].quantization
    scale = None if q is None else (q.scales.tobytes(), q.zero_points.tobytes(), q.axis)
    options = tuple((name, str(value)) for name, value in sorted(operator.options.items()))
    # Numbers that are equal are one constant; sizes that are computed make two of what has the same open dimensions.
    return operator.code, tuple(operator.inputs), options, result.shape, result.dtype, scale


def flat_transposes(graph: Graph) -> int:
    """Make a reshape of a transpose that only moves dimensions of length 1; returns how many."""
    count = 0
    for operator in graph.operators:
        order, data = order_of(operator), operator.inputs[0] if operator.inputs else None
        if order is None or data is None:
            continue
        real = [axis for axis in order if data.shape[axis] != 1]
        if real != sorted(real) or -1 in operator.outputs[0].shape:
            continue
        shape = operator.outputs[0].shape
        target = graph.integers(shape, f"{operator.outputs[0].name}/shape")
        operator.code, operator.inputs, operator.options = (
            "RESHAPE",
            [data, target],
            {"newShape": target.small},
        )
        count += 1
    return count


def join_reshapes(graph: Graph) -> int:
    """Let a reshape read what the reshape before it read, and drop one that changes nothing; returns how many."""
    made: dict[Tensor, Operator] = {}
    same: dict[Tensor, Tensor] = {}
    kept: list[Operator] = []
    count = 0
    outputs = set(graph.outputs.values())
    for operator in graph.operators:
        operator.inputs = [same.get(t, t) if t is not None else None for t in operator.inputs]
        if operator.code == "RESHAPE":
            data, result = operator.inputs[0], operator.outputs[0]
            if data is not None and data in made:
                operator.inputs[0] = data = made[data].inputs[0]
                count += 1
            if (
                data is not None
                and data.shape == result.shape
                and result not in outputs
                and -1 not in data.shape
            ):
                same[result] = data
                count += 1
                continue
            made[result] = operator
        kept.append(operator)
    graph.operators = kept
    return count


def narrow_movements(graph: Graph) -> int:
    """Move numbers before they are dequantized, while they are a quarter or half as large; returns how many."""
    count = 0
    for _ in range(len(graph.operators)):
        found = _wide_movement(graph)
        if found is None:
            break
        real, movement = found
        data, between, result = real.inputs[0], real.outputs[0], movement.outputs[0]
        if data is None:
            break
        small = graph.tensor(f"{result.name}/quantized", data.dtype, result.shape, data.quantization)
        real.inputs, real.outputs = [small], [result]
        movement.inputs = [data if tensor is between else tensor for tensor in movement.inputs]
        movement.outputs = [small]
        graph.operators.remove(real)
        graph.operators.insert(graph.operators.index(movement) + 1, real)
        count += 1
    return count


def _wide_movement(graph: Graph) -> tuple[Operator, Operator] | None:
    consumers, outputs = graph.consumers(), set(graph.outputs.values())
    for operator in graph.operators:
        made, data = operator.outputs[0], operator.inputs[0] if operator.inputs else None
        readers = consumers.get(made, [])
        if operator.code != "DEQUANTIZE" or len(readers) != 1 or made in outputs:
            continue
        q = None if data is None else data.quantization
        if readers[0].code in {"TRANSPOSE", "RESHAPE"} and q is not None and q.per_tensor:
            return operator, readers[0]
    return None
