"""What a mixed-precision assignment can decide about a graph: groups of nodes, and the forms that each can take.

Matrix products of one input make one group, since they share its quantized form; lookups in one table make one,
since they share the table; a convolution is one by itself. Groups stand in graph order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgepack.quantize._onnx_layers import linears, lookups
from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.passes.graphs import standard

if TYPE_CHECKING:
    import onnx_ir as ir

Form = Literal["fp32", "int8-dynamic", "int8-static", "int8-weights", "int4-weights"]
FORMS: tuple[Form, ...] = ("fp32", "int8-dynamic", "int8-static", "int8-weights", "int4-weights")

BITS: Mapping[str, int] = {"int8-weights": 8, "int4-weights": 4}
BLOCK = 32
"""Weights that share a scale, in the forms that have blocks."""

_FORMS_OF: Mapping[str, tuple[Form, ...]] = {
    "product": FORMS,
    # Rows that are looked up are constants: there is no activation whose range could be fixed.
    "lookup": ("fp32", "int8-dynamic", "int8-weights", "int4-weights"),
    "convolution": ("fp32", "int8-static"),
}
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_OPSETS: Mapping[str, int] = {"int8-dynamic": 11, "int8-static": 13}  # of the operators that they are made of


@dataclass(frozen=True)
class Group:
    """Nodes that share a choice.

    Attributes:
        name: "000 product 384x1536", its place in graph order, kind and weight; unique in a graph.
        kind: "product", "lookup" or "convolution".
        nodes: Names of its nodes, as `named` gives them.
        shapes: Shape of every node's weight; of products [inputs, outputs].
        forms: Forms that it can take, "fp32" first.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    forms: tuple[Form, ...]

    @property
    def alike(self) -> str:
        """What groups of equal cost have in common: kind and weights."""
        return f"{self.kind} {'+'.join('x'.join(map(str, shape)) for shape in self.shapes)}"


def named(graph: ir.Graph) -> dict[str, ir.Node]:
    """Every node by a name that no other node has; the graph's nodes get these names."""
    found: dict[str, ir.Node] = {}
    for index, node in enumerate(graph):
        name = node.name or f"{node.op_type}:{index}"
        if name in found:
            name = f"{name}:{index}"
        node.name = name
        found[name] = node
    return found


def groups(graph: ir.Graph) -> list[Group]:
    """The graph's groups; nodes are named (`named`) first.

    Args:
        graph: A float graph.
    """
    order = {name: index for index, name in enumerate(named(graph))}
    version = graph.opset_imports.get("", 0)
    found: list[tuple[str, list[str], list[tuple[int, ...]], tuple[Form, ...]]] = []
    for products in linears(graph).values():
        names = [str(linear.node.name) for linear in products]
        shapes: list[tuple[int, ...]] = [(linear.inputs, linear.outputs) for linear in products]
        found.append(("product", names, shapes, _FORMS_OF["product"]))
    tables: dict[int, list[str]] = {}
    sizes: dict[int, tuple[int, ...]] = {}
    for lookup in lookups(graph):
        tables.setdefault(id(lookup.table), []).append(str(lookup.node.name))
        sizes[id(lookup.table)] = tuple(lookup.table.shape.numpy())
    for key, names in tables.items():
        # A row of levels must end with a byte.
        packs = [
            form for form in _FORMS_OF["lookup"] if form not in BITS or sizes[key][1] * BITS[form] % 8 == 0
        ]
        found.append(("lookup", names, [sizes[key]], tuple(packs)))
    for name, node in named(graph).items():
        shape = _kernel(node)
        if shape is not None:
            found.append(("convolution", [name], [shape], _FORMS_OF["convolution"]))
    found.sort(key=lambda entry: order[entry[1][0]])
    made = []
    for index, (kind, names, shapes, forms) in enumerate(found):
        possible = tuple(form for form in forms if version >= _OPSETS.get(form, 0))
        label = f"{index:03d} {kind} {'x'.join(map(str, shapes[0]))}"
        label += f" and {len(names) - 1} more" if len(names) > 1 else ""
        made.append(Group(label, kind, tuple(names), tuple(shapes), possible))
    return made


def check_assignment(assign: Mapping[str, str], known: list[Group], where: str) -> dict[str, Form]:
    """The form of every node that is not left in fp32.

    Args:
        assign: Form by node name; nodes that are not in it stay fp32.
        known: The graph's groups.
        where: For messages.

    Raises:
        UnknownNameError: There is no such node to choose for, or no such form.
        UsageError: The node cannot take that form.
    """
    of_node = {name: group for group in known for name in group.nodes}
    for name, form in assign.items():
        if name not in of_node:
            raise UnknownNameError("node with a choice of precision", name, of_node, where=where)
        if form not in FORMS:
            raise UnknownNameError("form", str(form), FORMS, where=f"{where}, node {name}")
        if form not in of_node[name].forms:
            raise UsageError(
                f"The node {name}, a {of_node[name].kind}, cannot be {form}",
                where=where,
                todo=f"Choose one of: {', '.join(of_node[name].forms)}",
            )
    return {name: form for form in FORMS[1:] for name, chosen in assign.items() if chosen == form}


def _kernel(node: ir.Node) -> tuple[int, ...] | None:
    """Shape of a convolution's constant float kernel."""
    import onnx_ir as ir

    if not standard(node, *_CONVOLUTIONS) or len(node.inputs) < 2 or node.inputs[1] is None:  # noqa: PLR2004
        return None
    value = node.inputs[1]
    tensor = value.const_value
    constant = tensor is not None and value.is_initializer() and not value.is_graph_input()
    if tensor is None or not constant or tensor.dtype is not ir.DataType.FLOAT:
        return None
    return tuple(int(dim) for dim in tensor.shape.numpy())
