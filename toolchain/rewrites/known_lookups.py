"""`known lookups`: rows of a table that are looked up by constant numbers are a constant themselves.

    Gather(table, [0, 1, ..., n - 1])  =  the first n rows

Learned positions are such a table once the length is fixed. An accelerator without Gather would leave it to the CPU,
for a result that never changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.passes.weights import array
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

_INDICES = 1 << 16
_RESULT = 1 << 22  # elements: a table that grows beyond this is cheaper looked up


@rewrite(
    "known lookups",
    why="rows that are looked up by constant numbers are a constant, and need no Gather",
    cures=(Cure("GATHER"), Cure("Gather")),
    first=lambda device: device.activation_bits > 8,  # noqa: PLR2004 - no NPU here has a 16-bit Gather of float tables
)
def known_lookups(model: ir.Model, device: Device) -> int:
    """Compute them; returns how many."""
    import numpy as np
    import onnx_ir as ir

    del device
    count = 0
    for node in list(model.graph):
        if not standard(node, "Gather") or node.outputs[0].is_graph_output():
            continue
        table, indices = node.inputs[0], constant(node.inputs[1], limit=_INDICES)
        stored = None if table is None or table.is_graph_input() else table.const_value
        if indices is None or stored is None or not indices.size:
            continue
        axis = node.attributes.get_int("axis", 0)
        if stored.size // max(stored.shape.numpy()[axis], 1) * indices.size > _RESULT:
            continue
        rows = np.take(array(stored), indices, axis=axis)
        old = node.outputs[0]
        name = f"{old.name}/known"
        made = ir.Value(
            name=name,
            type=ir.TensorType(stored.dtype),
            shape=ir.Shape(rows.shape),
            const_value=ir.Tensor(np.ascontiguousarray(rows), dtype=stored.dtype, name=name),
        )
        model.graph.register_initializer(made)
        ir.convenience.replace_all_uses_with(old, made)
        model.graph.remove(node, safe=True)
        count += 1
    return count
