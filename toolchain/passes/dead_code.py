"""`dead-code`: nodes, initializers, functions and operator-set imports that nothing uses are dropped.

Inputs of the model stay, used or not: they are its signature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.base import passes
from edgepack.toolchain.passes.graphs import scopes

if TYPE_CHECKING:
    import onnx_ir as ir


@passes.register("dead-code")
def dead_code(model: ir.Model) -> int:
    """Drop what is unused; returns how many nodes, initializers, functions and imports."""
    from onnx_ir.passes import common

    before = _count(model)
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    for graph in list(model.graphs()):
        for value in list(graph.initializers.values()):
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                del graph.initializers[value.name or ""]
    common.RemoveUnusedOpsetsPass()(model)
    return before - _count(model)


def _count(model: ir.Model) -> int:
    nodes = sum(len(graph) for graph, _ in scopes(model))
    weights = sum(len(graph.initializers) for graph in model.graphs())
    imports = len(model.opset_imports) + sum(len(f.opset_imports) for f in model.functions.values())
    return nodes + weights + len(model.functions) + imports
