"""Puts new nodes in front of an old one, and the last of them in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir


class Build:
    """New nodes that together compute what `old` computes.

    Every value's name begins with the name of what they compute, so that what a compiler says of it can be followed
    back.

    Args:
        graph: Where `old` stands.
        old: The node that is replaced; of several outputs only the first is.
    """

    def __init__(self, graph: ir.Graph, old: ir.Node) -> None:
        self._graph, self._old = graph, old
        self._label = old.outputs[0].name or old.op_type

    def number(self, array: np.ndarray | float, what: str) -> ir.Value:
        """A constant; a float becomes a scalar of float32."""
        import numpy as np
        import onnx_ir as ir

        values = np.asarray(array, np.float32) if isinstance(array, float) else np.asarray(array)
        name = f"{self._label}/{what}"
        made = ir.Value(
            name=name,
            type=ir.TensorType(ir.DataType.from_numpy(values.dtype)),
            shape=ir.Shape(values.shape),
            const_value=ir.Tensor(values, name=name),
        )
        self._graph.register_initializer(made)
        return made

    def op(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        what: str,
        **attributes: float | str | Sequence[int] | ir.Attr,
    ) -> ir.Value:
        """One node in front of the old one; `what` it computes is part of the name."""
        import onnx_ir as ir

        node = ir.node(op, inputs, attributes, num_outputs=1, name=f"{self._label}/{what}")
        node.outputs[0].name = f"{self._label}/{what}"
        node.outputs[0].type = self._old.outputs[0].type
        self._graph.insert_before(self._old, node)
        return node.outputs[0]

    def finish(
        self, op: str, inputs: Sequence[ir.Value | None], **attributes: float | str | Sequence[int] | ir.Attr
    ) -> None:
        """The node whose result takes the old one's place and name; the old node goes."""
        import onnx_ir as ir

        old = self._old.outputs[0]
        name = old.name
        made = self.op(op, inputs, "result", **attributes)
        made.type, made.shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, made, replace_graph_outputs=True)
        self._graph.remove(self._old, safe=True)
        made.name = name


def opset(model: ir.Model) -> int:
    """Version of the standard operators."""
    return int(model.graph.opset_imports.get("", 0))


def known_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """A value's dimensions, where all of them are numbers."""
    if value is None or value.shape is None:
        return None
    dims = tuple(value.shape)
    return dims if all(isinstance(dim, int) for dim in dims) else None  # type: ignore[return-value]
