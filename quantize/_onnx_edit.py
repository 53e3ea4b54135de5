"""Small edits of an ONNX graph that the quantizers share: new nodes and constants under free names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.passes.graphs import standard

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir


class Builder:
    """Collects nodes that are to stand before another one.

    Args:
        graph: The graph; constants are filed there at once.
        prefix: Beginning of every new name, unique in the graph.
    """

    def __init__(self, graph: ir.Graph, prefix: str) -> None:
        self._graph = graph
        self._prefix = prefix
        self._counts: Counter[str] = Counter()
        self._nodes: list[ir.Node] = []

    def add(
        self,
        op: str,
        inputs: Sequence[ir.Value],
        attributes: Mapping[str, Any] | None = None,
        *,
        domain: str = "",
    ) -> ir.Value:
        """Append a node of one output, by default of the standard domain, and return that output."""
        return self.add_many(op, inputs, 1, attributes, domain=domain)[0]

    def add_many(
        self,
        op: str,
        inputs: Sequence[ir.Value],
        outputs: int,
        attributes: Mapping[str, Any] | None = None,
        *,
        domain: str = "",
    ) -> Sequence[ir.Value]:
        """Append a node of several outputs, by default of the standard domain."""
        import onnx_ir as ir

        name = self._name(op)
        node = ir.node(op, inputs, attributes, domain=domain, num_outputs=outputs, name=name)
        for index, value in enumerate(node.outputs):
            value.name = f"{name}:{index}"
        self._nodes.append(node)
        return node.outputs

    def constant(self, tensor: ir.TensorProtocol | np.ndarray, role: str) -> ir.Value:
        """File a constant."""
        import numpy as np
        import onnx_ir as ir

        name = self._name(role)
        if isinstance(tensor, (np.ndarray, np.generic)):
            tensor = ir.Tensor(np.asarray(tensor), name=name)
        value = ir.Value(
            name=name,
            const_value=tensor,
            shape=ir.Shape(tensor.shape.numpy()),
            type=ir.TensorType(tensor.dtype),
        )
        tensor.name = name
        self._graph.register_initializer(value)
        return value

    def insert_before(self, node: ir.Node) -> None:
        """Put the collected nodes before `node`."""
        self._graph.insert_before(node, self._nodes)
        self._nodes = []

    def replace(self, node: ir.Node, value: ir.Value) -> None:
        """Put the collected nodes in the place of `node`, whose only output `value` takes over, name included."""
        import onnx_ir as ir

        old = node.outputs[0]
        name, value.type, value.shape = old.name, old.type, old.shape
        self.insert_before(node)
        ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        sources = [given.producer() for given in node.inputs if given is not None]
        self._graph.remove(node, safe=True)
        drop_idle(self._graph, sources)
        value.name = name

    def _name(self, role: str) -> str:
        self._counts[role] += 1
        number = self._counts[role]
        return f"{self._prefix}/{role}" + (f":{number}" if number > 1 else "")


def drop_idle(graph: ir.Graph, nodes: Iterable[ir.Node | None]) -> None:
    """Forget those of some nodes that transpose a constant for nobody any more."""
    outputs = set(graph.outputs)
    for node in dict.fromkeys(nodes):
        if node is None or not standard(node, "Transpose") or node.graph is not graph:
            continue
        source, result = node.inputs[0], node.outputs[0]
        if source is not None and source.is_initializer() and not result.uses() and result not in outputs:
            graph.remove(node, safe=True)


def drop_unused_constants(graph: ir.Graph) -> None:
    """Forget the constants that no node uses any more, and value shapes nobody vouches for stay untouched."""
    outputs = set(graph.outputs)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and value not in outputs and not value.is_graph_input():
            del graph.initializers[name]
