"""Finds a loop over time that was written out: the same block once a step, each reading the one before.

The steps are read from one tensor at the constant places 0, 1, 2, ... (Gather, Slice, Split or SequenceAt).
A node belongs to the block of the latest step that it depends on. The loop is one when the blocks hold the
same operators and the same weights, and each uses something of the block before. Layers of a network read no
such places and have weights of their own; so have codebooks, one a place, that are added up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard

if TYPE_CHECKING:
    import onnx_ir as ir

MIN_STEPS = 16
"""Fewer equal blocks are not called a loop: refinements and small heads repeat, too."""

_WEIGHT_ELEMENTS = 16

_SAME_NUMBER = ("Cast", "Reshape", "Squeeze", "Unsqueeze", "Identity")

_Steps = dict[int, list["ir.Value"]]


def unrolled(model: ir.Model) -> str | None:
    """What is repeated, in words, or None.

    Args:
        model: Any model; subgraphs are looked into one by one. Loops of fewer than `MIN_STEPS` steps, and those
            whose steps do not read a tensor at constant places, are not found.
    """
    for graph in list(model.graphs()):
        for (source, axis), steps in _reads(graph).items():
            for backwards in (False, True):
                if text := _loop(graph, steps, backwards=backwards):
                    way = " from the last to the first" if backwards else ""
                    return f"the steps of '{source.name}' along axis {axis} are written out{way}: {text}"
    return None


def _reads(graph: ir.Graph) -> dict[tuple[ir.Value, int], _Steps]:
    """Per tensor and axis the values read at one constant place, runs from 0 of enough steps only."""
    found: dict[tuple[ir.Value, int], _Steps] = defaultdict(lambda: defaultdict(list))
    for node in graph:
        for source, axis, place, value in _places(node):
            found[source, axis][place].append(value)
    return {
        key: steps
        for key, steps in found.items()
        if len(steps) >= MIN_STEPS and sorted(steps) == list(range(len(steps)))
    }


def _places(node: ir.Node) -> list[tuple[ir.Value, int, int, ir.Value]]:
    """(tensor, axis, place, value) of every single place that the node reads."""
    if not node.inputs or node.inputs[0] is None:
        return []
    source, out = node.inputs[0], node.outputs[0]
    if standard(node, "Gather", "SequenceAt"):
        index = _number(node.inputs[1])
        return [] if index is None else [(source, node.attributes.get_int("axis", 0), index, out)]
    if standard(node, "Slice") and len(node.inputs) > 3:  # noqa: PLR2004 - axes are the fourth input
        start, end, axis = (_number(value) for value in node.inputs[1:4])
        if start is None or end != start + 1 or axis is None:
            return []
        return [(source, axis, start, out)]
    if standard(node, "Split") and len(node.outputs) >= MIN_STEPS:
        axis = node.attributes.get_int("axis", 0)
        return [(source, axis, place, value) for place, value in enumerate(node.outputs)]
    return []


def _number(value: ir.Value | None) -> int | None:
    # Without optimization an exporter casts and reshapes its constants in the graph.
    while value is not None and (node := value.producer()) is not None and standard(node, *_SAME_NUMBER):
        value = node.inputs[0]
    array = constant(value)
    return None if array is None or array.size != 1 else int(array.reshape(()))


def _loop(graph: ir.Graph, steps: _Steps, *, backwards: bool) -> str | None:
    count = len(steps)
    order = {v: count - 1 - place if backwards else place for place, values in steps.items() for v in values}
    latest: dict[ir.Value, int] = dict(order)
    operators: dict[int, Counter[str]] = defaultdict(Counter)
    weights: dict[int, set[ir.Value]] = defaultdict(set)
    chained: set[int] = set()
    for node in graph:
        inputs = _data(node)
        before = {latest[value] for value in inputs if value in latest}
        if not before or any(value in order for value in node.outputs):
            continue
        step = max(before)
        operators[step][node.op_type] += 1
        weights[step] |= {value for value in inputs if _is_weight(value)}
        if step - 1 in before:
            chained.add(step)
        latest.update(dict.fromkeys(node.outputs, step))
    # The first block may lack a state before it, and the last holds all that follows the loop.
    middle = range(1, count - 1)
    alike = all(operators[i] == operators[1] and weights[i] == weights[1] and i in chained for i in middle)
    if not alike or not operators[1]:
        return None
    block = ", ".join(f"{n} {name}" if n > 1 else name for name, n in sorted(operators[1].items()))
    return f"{count} equal blocks of {operators[1].total()} nodes ({block})"


def _data(node: ir.Node) -> list[ir.Value]:
    """The inputs whose values the node reads, not only their size or type."""
    if standard(node, "Shape", "Size"):
        return []
    inputs = node.inputs[:1] if standard(node, "CastLike") else node.inputs
    return [value for value in inputs if value is not None]


def _is_weight(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.size >= _WEIGHT_ELEMENTS
