"""`simplify`: the passes over a TFLite graph, in the order in which they help one another."""

from __future__ import annotations

from edgepack.targets.mobile._tflite.graph import Graph
from edgepack.targets.mobile._tflite.passes import layout, leftovers, margins, rescaling

_ROUNDS = 8


def simplify(graph: Graph, *, channels_last: bool) -> None:
    """Cancel transposes and drop what is not needed, in place; what the graph computes stays the same.

    Args:
        graph: As it was translated.
        channels_last: Whether images are taken as [N, H, W, C].
    """
    for _ in range(_ROUNDS):
        changed = leftovers.drop_unused(graph) + layout.sink(graph) + leftovers.share_equal(graph)
        leftovers.drop_unused(graph)
        changed += leftovers.join_reshapes(graph)
        if not changed:
            break
    if channels_last:
        layout.hoist(graph)
        leftovers.share_equal(graph)
        layout.take_channels_last(graph)
    margins.join_pads(graph)
    leftovers.narrow_movements(graph)
    leftovers.flat_transposes(graph)
    leftovers.join_reshapes(graph)
    leftovers.drop_unused(graph)
    rescaling.exact_rescaling(graph)
