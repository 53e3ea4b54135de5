"""What stands between two layers of one bit, where the form of the graph lets bits go from one to the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.toolchain.passes._binary_layers import Layer, Unfit, layer_of
from edgepack.toolchain.passes.graphs import constant, standard

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_BYTE = 8

# They compute each element from the elements of the same place, and round it as one operation.
ELEMENTWISE = frozenset(
    {"Abs", "Add", "And", "BatchNormalization", "Clip", "Div", "Greater", "GreaterOrEqual", "Identity", "LeakyRelu"}
    | {"Less", "LessOrEqual", "Max", "Min", "Mul", "Neg", "Not", "Or", "PRelu", "Relu", "Sign", "Sub", "Where"}
)  # fmt: skip
SHAPES = frozenset({"Flatten", "Reshape", "Transpose"})


@dataclass(frozen=True)
class Link:
    """Two layers that can be joined, as far as the graph's form goes.

    Attributes:
        source: Gives the values.
        target: Reads their signs.
        between: Elementwise nodes, in the graph's order.
        shapes: Nodes that move rows or images as wholes, in order.
        shift: float32 [channels of the source].
        weights: The target's in the order of the source's bytes, where that is another one.
    """

    source: Layer
    target: Layer
    between: tuple[ir.Node, ...]
    shapes: tuple[ir.Node, ...]
    shift: np.ndarray
    weights: ir.TensorProtocol | None = None

    def shape_nodes(self, graph: ir.Graph) -> Iterator[ir.Node]:
        """The same nodes for bytes: what says how many features there are says how many bytes."""
        import onnx_ir as ir

        for node in self.shapes:
            if self.source.is_conv:
                node.op_type, node.domain = "Flatten", ""
                node.resize_inputs(1)
                node.attributes.clear()
                node.attributes["axis"] = ir.AttrInt64("axis", 1)
            elif node.op_type == "Reshape":
                sizes = constant(node.inputs[1])
                assert sizes is not None  # noqa: S101 - see _rows_stay
                new = sizes.copy()
                new[-1] = 0 if new[-1] == 0 else -(-self.source.outputs // _BYTE)
                name = f"{node.outputs[0].name}/bytes"
                value = ir.Value(name=name, const_value=ir.tensor(new, name=name))
                value.type, value.shape = ir.TensorType(ir.DataType.INT64), ir.Shape(new.shape)
                graph.register_initializer(value)
                node.replace_input_with(1, value)
            yield node


def link_to(target: Layer) -> Link:
    """What leads to a layer from the one before.

    Raises:
        Unfit: The graph's form is against it.
    """
    nodes, source = _region(target)
    _alone(nodes, source, target)
    shapes = tuple(node for node in nodes if node.op_type in SHAPES)
    between = tuple(node for node in nodes if node.op_type not in SHAPES)
    if source.is_conv and source.group > 1 and source.outputs // source.group % _BYTE:
        raise Unfit(
            f"a group of {source.node.name!r} has {source.outputs // source.group} channels, no whole bytes"
        )
    if target.is_conv and target.group > 1 and target.k % _BYTE:
        raise Unfit(f"a group reads {target.k} channels, no whole bytes")
    if source.is_conv and not target.is_conv:
        return _flattened(source, target, between, shapes, nodes)
    if source.is_conv != target.is_conv or source.outputs != target.channels:
        raise Unfit("its channels are not those of the layer before")
    if shapes and (source.is_conv or not _is_path(nodes)):
        raise Unfit(f"{shapes[0].op_type} '{shapes[0].name}' stands between")
    for node in shapes:
        _rows_stay(node, source)
    _by_channel(between, source, source.outputs)
    return Link(source, target, between, shapes, _spread(target.parameter(4), source.outputs, 1))


def _region(target: Layer) -> tuple[list[ir.Node], Layer]:
    """The nodes between, in the graph's order, and the layer before them."""
    import onnx_ir as ir

    sources: dict[ir.Node, Layer] = {}
    found: set[ir.Node] = set()
    pending: list[tuple[ir.Value | None, ir.Node]] = [(target.node.inputs[0], target.node)]
    while pending:
        value, reader = pending.pop()
        if value is None or (value.const_value is not None and not value.is_graph_input()):
            continue
        node = value.producer()
        if node is None:
            raise Unfit(
                f"it reads '{value.name}', an input of the graph" if not sources else "it depends on an input"
            )
        layer = layer_of(node)
        if layer is not None:
            sources[node] = layer
        elif (
            not standard(node)
            or node.op_type not in ELEMENTWISE | SHAPES
            or node.graph is not target.node.graph
        ):
            through = "" if reader is target.node else f", read by {reader.op_type} '{reader.name}'"
            raise Unfit(f"{node.op_type} '{node.name}' stands between{through}")
        elif node not in found:
            found.add(node)
            pending.extend((value, node) for value in node.inputs)
    if len(sources) != 1:
        raise Unfit(f"it reads {len(sources)} layers")
    (source,) = sources.values()
    if source.bits_out or source.node.graph is not target.node.graph:
        raise Unfit("the layer before gives bits already")
    assert isinstance(target.node.graph, ir.Graph)  # noqa: S101 - nodes of functions are not looked at
    return [node for node in target.node.graph if node in found], source


def _alone(nodes: list[ir.Node], source: Layer, target: Layer) -> None:
    """Raise where anything but the target reads a value on the way."""
    inside = {*nodes, target.node}
    for value in (source.node.outputs[0], *(node.outputs[0] for node in nodes)):
        if value.is_graph_output():
            raise Unfit(f"'{value.name}' is an output of the graph")
        for use in value.uses():
            if use.node not in inside:
                raise Unfit(f"'{value.name}' is read by {use.node.op_type} '{use.node.name}' as well")
            if use.node is target.node and use.idx != 0:
                raise Unfit(f"'{value.name}' is a parameter of the layer")


def _is_path(nodes: list[ir.Node]) -> bool:
    return all(sum(v is not None and v.const_value is None for v in node.inputs) == 1 for node in nodes)


def _rows_stay(node: ir.Node, source: Layer) -> None:
    if node.op_type == "Reshape":
        sizes = constant(node.inputs[1])
        if sizes is not None and sizes.ndim == 1 and sizes.size and sizes[-1] in {-1, 0, source.outputs}:
            others = [int(size) for size in sizes[:-1]]
            if sizes[-1] == source.outputs or -1 not in others:
                return
        raise Unfit(f"Reshape '{node.name}' may not keep rows together")
    value = node.inputs[0]
    rank = len(value.shape) if value is not None and value.shape is not None else None
    if rank is None:
        raise Unfit(f"the rank of what {node.op_type} '{node.name}' reads is not known")
    if node.op_type == "Transpose":
        order = list(node.attributes.get_ints("perm", list(reversed(range(rank)))))
        kept = order[-1] == rank - 1
    else:
        kept = node.attributes.get_int("axis", 1) in {-1, rank - 1}
    if not kept:
        raise Unfit(f"{node.op_type} '{node.name}' does not keep rows together")


def _by_channel(nodes: tuple[ir.Node, ...], source: Layer, channels: int) -> None:
    """Raise unless constants are numbers, or one number a channel along the source's own axis of channels."""
    for node in nodes:
        if node.op_type == "BatchNormalization":
            shape = source.node.outputs[0].shape
            if node.attributes.get_int("training_mode", 0) or len(node.outputs) > 1:
                raise Unfit(f"BatchNormalization '{node.name}' is in training mode")
            if not source.is_conv and (shape is None or len(shape) != 2):  # noqa: PLR2004 - rows of features
                raise Unfit(f"BatchNormalization '{node.name}' may not be per feature")
            continue
        for value in node.inputs:
            if value is None or value.const_value is None:
                continue
            sizes = [int(size) for size in value.const_value.shape.numpy()]
            behind = 2 if source.is_conv else 0
            allowed = [1] * max(0, len(sizes) - behind - 1) + [channels] + [1] * behind
            if any(
                size not in {1, most} for size, most in zip(reversed(sizes), reversed(allowed), strict=False)
            ):
                raise Unfit(f"'{value.name}' of {node.op_type} '{node.name}' is not one number a channel")


def _flattened(
    source: Layer,
    target: Layer,
    between: tuple[ir.Node, ...],
    shapes: tuple[ir.Node, ...],
    nodes: list[ir.Node],
) -> Link:
    """From images to rows: bytes of eight channels go on being that, and the target's weights follow them."""
    import numpy as np
    import onnx_ir as ir

    n = source.outputs
    if (
        len(shapes) != 1
        or not _is_path(nodes)
        or target.k % n
        or n % _BYTE
        or not _is_flatten(shapes[0], target.k)
    ):
        raise Unfit("between an image and a row stands more than a Flatten of whole bytes")
    at = nodes.index(shapes[0])
    _by_channel(tuple(nodes[:at]), source, n)
    for node in nodes[at + 1 :]:
        sizes = [v.const_value.size for v in node.inputs if v is not None and v.const_value is not None]
        if node.op_type == "BatchNormalization" or any(size > 1 for size in sizes):
            raise Unfit(f"{node.op_type} '{node.name}' may differ from pixel to pixel")
    pixels = target.k // n
    bits = np.unpackbits(target.weights, axis=1, bitorder="little")[:, : target.k]
    moved = bits.reshape(-1, n // _BYTE, _BYTE, pixels).swapaxes(2, 3).reshape(len(bits), -1)
    weights = ir.Tensor(np.packbits(moved, axis=1, bitorder="little"), name="weights")
    return Link(source, target, between, shapes, _spread(target.parameter(4), n, pixels), weights)


def _is_flatten(node: ir.Node, features: int) -> bool:
    if node.op_type == "Flatten":
        return node.attributes.get_int("axis", 1) == 1
    sizes = constant(node.inputs[1]) if node.op_type == "Reshape" else None
    if sizes is None or sizes.shape != (2,):
        return False
    return bool(sizes[1] == features or (sizes[1] == -1 and sizes[0] == 0))


def _spread(shift: np.ndarray, channels: int, pixels: int) -> np.ndarray:
    import numpy as np

    if shift.size == 1:
        return np.full(channels, shift.reshape(())[()], np.float32)
    rows = shift.reshape(channels, pixels)
    if not np.all(rows == rows[:, :1]):
        raise Unfit("its shift differs from pixel to pixel")
    return np.ascontiguousarray(rows[:, 0])
