"""`constant-nodes`: Constant nodes become initializers, in the graph they stand in.

Initializers are what the other passes look at, and what can be stored outside the graph file.
Constants inside functions (which cannot have initializers) and constants that are a graph's output stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.base import passes
from edgepack.toolchain.passes.graphs import standard

if TYPE_CHECKING:
    import onnx_ir as ir


@passes.register("constant-nodes")
def constant_nodes(model: ir.Model) -> int:
    """Lift Constant nodes; returns how many."""
    before = _count(model)
    if not before:
        return 0
    from onnx_ir.passes.common import LiftConstantsToInitializersPass

    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return before - _count(model)


def _count(model: ir.Model) -> int:
    return sum(standard(node, "Constant") for graph in model.graphs() for node in graph)
