"""A graph of fixed shapes, operator by operator, in layers of ncnn.

Everything is a float32 here: integers up to 2^24 are exact, and logical values are 0 and 1. Only the rows of a table
are looked up by integers, and so an input that says which is given to the network twice where something computes with
it too: as int32, and as float32 (its `twin`). Infinite constants, which arithmetic in the place of a choice would make
NaN of, become +-1e30: nothing that a float16 holds is beyond it, and a sum of several does not overflow.

What every operator becomes stands in `arithmetic`, `moves`, `lookups`, `products`, `norms` and `pictures`, and is filed
under `OPERATORS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgepack.targets.mobile._ncnn.layers import MOST, Layers, Tensor
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.passes.graphs import constant
from edgepack.toolchain.rewrites.building import known_shape
from edgepack.toolchain.vendors.ncnn_network import Weight

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

INFINITE = 1e30
_MOVES = frozenset({"Reshape", "Unsqueeze", "Squeeze", "Identity", "Flatten", "Slice", "Transpose", "Concat"})
"""Operators that move elements of 32 bits, whatever they mean."""
_EVERY = 2**62


class Translation:
    """One graph on its way.

    Attributes:
        layers: What was made so far.
        inputs: Name -> its tensor of int32, and its tensor of float32.
    """

    def __init__(self, graph: ir.Graph, part: str) -> None:
        self.graph, self.part = graph, part
        self.layers = Layers()
        self.inputs: dict[str, dict[str, Tensor]] = {}
        self._numbers: dict[str, Tensor] = {}
        self._rows: dict[str, Tensor | None] = {}

    def run(self) -> list[Tensor]:
        """Translate everything; the outputs, in the shapes that their values have.

        Raises:
            TargetError: An operator, or what it is told, has no layer.
        """
        for node in self.graph:
            if all(self.known(value) is not None for value in node.outputs):
                continue
            take = OPERATORS.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
            if take is None:
                raise self.error(node, "has no layer in ncnn, and edgepack no other words for it")
            for value, tensor in zip(node.outputs, take(self, node), strict=False):
                self._numbers[value.name or ""] = tensor
        return [self.number(value, laid(shape_of(value))) for value in self.graph.outputs]

    def number(self, value: ir.Value | None, shape: Sequence[int] | None = None) -> Tensor:
        """A value as float32, in this shape of ncnn's; None: as it lies."""
        if value is None:
            raise TargetError(
                "An operator lacks an input",
                where=f"part {self.part}",
                todo="Check the model with onnx.checker",
            )
        name = value.name or ""
        if name not in self._numbers:
            known = self.known(value)
            if known is not None:
                return self.constant(known, lay(known.shape) if shape is None else shape)
            if not value.is_graph_input():
                raise TargetError(f"{name!r} is computed after it is read", where=f"part {self.part}")
            self._numbers[name] = self._input(value, "float32")
        made = self._numbers[name]
        return made if shape is None else self.layers.reshape(made, shape)

    def rows(self, value: ir.Value | None) -> Tensor | None:
        """An integer value as int32, if it is an input or elements of inputs and constants that were moved."""
        name = "" if value is None else value.name or ""
        if value is not None and name not in self._rows:
            self._rows[name] = self._moved(value)
        return self._rows.get(name)

    def known(self, value: ir.Value | None) -> np.ndarray | None:
        """A constant's numbers as they are in the model."""
        return None if value is None else constant(value, limit=_EVERY)

    def constant(self, array: np.ndarray, shape: Sequence[int] | None = None) -> Tensor:
        """Numbers, in this shape; infinite ones are as large as is said above."""
        return self.layers.constant(finite(array).reshape(lay(array.shape) if shape is None else shape))

    def error(self, node: ir.Node, why: str) -> TargetError:
        """What to raise for an operator."""
        return TargetError(
            f"{node.op_type} ({node.outputs[0].name}) {why}",
            where=f"part {self.part}",
            todo="Use --target cpu:onnxruntime for this model",
        )

    def _input(self, value: ir.Value, dtype: str) -> Tensor:
        sides = self.inputs.setdefault(value.name or "", {})
        if dtype not in sides:
            sides[dtype] = self.layers.input(laid(shape_of(value)))
        return sides[dtype]

    def _moved(self, value: ir.Value) -> Tensor | None:
        import numpy as np

        node = value.producer()
        if value.is_graph_input():
            return None if is_float(value) else self._input(value, "int32")
        known = self.known(value)
        if known is not None:
            return self.layers.constant(np.ascontiguousarray(known, np.int32).reshape(lay(known.shape)))
        if node is None or node.op_type not in _MOVES:
            return None
        data = node.inputs if node.op_type == "Concat" else node.inputs[:1]
        found = {(one.name or ""): self.rows(one) for one in data if one is not None}
        if any(one is None for one in found.values()):
            return None
        # The same operator once more, on the integers in the place of the numbers.
        numbers, self._numbers = self._numbers, {name: one for name, one in found.items() if one is not None}
        try:
            return OPERATORS[node.op_type](self, node)[0]
        finally:
            self._numbers = numbers


Operator = Callable[[Translation, "ir.Node"], Sequence[Tensor]]
OPERATORS: dict[str, Operator] = {}
"""What every operator of ONNX becomes."""


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Decorator that files what some operators become; it gives a tensor for each output that is translated."""

    def file(take: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, take))
        return take

    return file


def shape_of(value: ir.Value | None) -> tuple[int, ...]:
    """A value's shape.

    Raises:
        TargetError: It depends on the values of the inputs.
    """
    shape = known_shape(value)
    if value is None or shape is None:
        raise TargetError(
            f"How large {'a value' if value is None else repr(value.name)} is depends on the values of the inputs, and "
            "ncnn plans its layers before",
            todo="Use --target cpu:onnxruntime for this model",
        )
    return shape


def is_float(value: ir.Value | None) -> bool:
    """Whether the model has a floating point number there."""
    return value is None or value.dtype is None or value.dtype.is_floating_point()


def finite(array: np.ndarray) -> np.ndarray:
    """Numbers as float32, infinite ones as +-1e30."""
    import numpy as np

    numbers = np.ascontiguousarray(array, np.float32)
    return np.where(np.isinf(numbers), np.float32(np.copysign(INFINITE, numbers)), numbers)


def lay(shape: Sequence[int]) -> tuple[int, ...]:
    """How a value of any shape is laid: without leading axes of 1, and where four are not enough without others."""
    axes = list(shape)
    while len(axes) > 1 and axes[0] == 1:
        axes.pop(0)
    if len(axes) > MOST:
        axes = [size for size in axes if size != 1]
    if len(axes) > MOST:
        axes = [math.prod(axes[: 1 - MOST]), *axes[1 - MOST :]]
    return tuple(axes) or (1,)


def laid(shape: Sequence[int]) -> tuple[int, ...]:
    """How an input or output is laid: as it is, where five axes are too many without one of length 1."""
    axes = list(shape)
    if len(axes) == MOST + 1 and 1 in axes:
        axes.remove(1)
    if len(axes) > MOST:
        raise TargetError(
            f"ncnn has tensors of up to four axes, and an input or output has the shape {list(shape)}",
            todo="Give it with fewer axes, or use --target cpu:onnxruntime",
        )
    return tuple(axes) or (1,)


def held_as(array: np.ndarray, *, marked: bool) -> Weight:
    """A layer's weight as the file holds it: float32, of one dimension."""
    return Weight(finite(array).ravel(), marked=marked)
