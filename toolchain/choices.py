"""Whole numbers that a model decides by comparing its own scores: which outputs those are, and how far two sets agree.

Rounding puts scores that are nearly equal in another order. The index of the best then differs and nothing is wrong,
where any other whole number (a length, a mask, a position) that differs is. Measures of such outputs bear their names:

- `topk:NAME`: share of the reference's k indices that are among those got, whatever their order.
- `argmax:NAME`: share of places that hold the same index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

TOP_K, ARG_MAX = "topk:", "argmax:"
_BEST = {"ArgMax", "ArgMin"}
_SAME_PLACE = {"Cast", "Identity"}
_ELSEWHERE = {"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


def is_measure(name: str) -> bool:
    """Whether a gate's line is about choices."""
    return name.startswith((TOP_K, ARG_MAX)) and not name.endswith(":")


def outputs(gate: Iterable[str]) -> dict[str, str]:
    """The outputs that a gate judges as choices -> its line."""
    return {name.partition(":")[2]: name for name in gate if is_measure(name)}


def measures(model: ir.Model) -> list[str]:
    """The measure of every output that TopK, ArgMax or ArgMin decides, through casts, shapes and constant tables."""
    found = []
    for value in model.graph.outputs:
        kind = _kind(value)
        if kind is not None:
            found.append(f"{kind}{value.name}")
    return found


def _kind(value: ir.Value) -> str | None:
    in_place = True
    while (node := value.producer()) is not None:
        if node.op_type in _BEST:
            return ARG_MAX
        if node.op_type == "TopK":
            if value is not node.outputs[1]:
                return None
            return TOP_K if in_place and _last(node) else ARG_MAX
        if node.op_type == "Gather" and node.inputs[0] is not None and node.inputs[0].const_value is not None:
            followed = node.inputs[1]
        elif node.op_type in _SAME_PLACE | _ELSEWHERE:
            followed = node.inputs[0]
        else:
            return None
        if followed is None:
            return None
        in_place = in_place and node.op_type not in _ELSEWHERE
        value = followed
    return None


def _last(node: ir.Node) -> bool:
    """Whether a TopK's k stand along the last axis."""
    axis = node.attributes.get_int("axis", -1)
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    return axis == -1 or (shape is not None and axis == len(shape) - 1)


def agreement(measure: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """How much of an output is the same.

    Args:
        measure: Its measure's name.
        pairs: The output of every call as it should be and as it was got, whole numbers of one shape.

    Returns:
        0 to 1; 1 where nothing was chosen.
    """
    import numpy as np

    same = total = 0
    for expected, got in pairs:
        total += expected.size
        if measure.startswith(ARG_MAX) or not expected.ndim:
            same += int((expected == got).sum())
            continue
        best = expected.shape[-1]
        rows = zip(expected.reshape(-1, best), got.reshape(-1, best), strict=True)
        same += sum(int(np.isin(wanted, found).sum()) for wanted, found in rows)
    return same / total if total else 1.0


def words(measure: str) -> str:
    """What a share of this measure is a share of, for a sentence."""
    return "indices of the best that are among those got" if measure.startswith(TOP_K) else "equal indices"
