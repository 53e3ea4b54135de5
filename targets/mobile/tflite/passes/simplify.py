"""`simplify`: leftovers dropped."""

from __future__ import annotations

from edgepack.targets.mobile.tflite.graph import Graph


def simplify(graph: Graph, *, channels_last: bool) -> None:
    """Do it in place."""
    del channels_last
    drop_unused(graph)


def drop_unused(graph: Graph) -> int:
    """Remove operators whose results nothing reads; returns how many."""
    needed = set(graph.outputs.values())
    kept = []
    for operator in reversed(graph.operators):
        if any(tensor in needed for tensor in operator.outputs):
            kept.append(operator)
            needed.update(tensor for tensor in operator.inputs if tensor is not None)
    removed = len(graph.operators) - len(kept)
    graph.operators = kept[::-1]
    return removed
