"""`exporter-traces`: what torch's exporter writes about the source code is taken out.

Every node of a traced graph carries the stack trace of the Python line it came from, with paths on the
exporting machine, and its place in the module tree: more bytes than the graph itself, and nothing that
should ship. The raw graph keeps them for as long as a first wrong tensor may have to be named.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.base import passes

if TYPE_CHECKING:
    import onnx_ir as ir

_PREFIX = "pkg.torch."
# Written beside them, under a name without a prefix.
_ALSO = "namespace"


@passes.register("exporter-traces")
def exporter_traces(model: ir.Model) -> int:
    """Remove them from nodes, values, graphs, functions and the model; returns from how many."""
    count = _strip(model.metadata_props)
    graphs: list[ir.Graph | ir.Function] = [*model.graphs(), *model.functions.values()]
    for graph in graphs:
        count += _strip(graph.metadata_props)
        for value in (*graph.inputs, *graph.outputs):
            count += _strip(value.metadata_props)
        for node in graph:
            count += _strip(node.metadata_props)
            for value in node.outputs:
                count += _strip(value.metadata_props)
    return count


def _strip(props: MutableMapping[str, str]) -> int:
    found = [key for key in props if key.startswith(_PREFIX)]
    for key in found:
        del props[key]
    if found:
        props.pop(_ALSO, None)
    return int(bool(found))
