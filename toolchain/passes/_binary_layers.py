"""Layers of one bit in a graph, in all their forms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from edgepack.toolchain.native_operators import DOMAIN
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_KINDS = ("BinLinear", "BinConv")
_BITS_IN, _BITS_OUT = ("Bits", "Unpack"), ("Bits", "Pack")


class Unfit(Exception):  # noqa: N818 - a rule that does not match is no error
    """Why two layers cannot be joined, in words."""


@dataclass(frozen=True)
class Layer:
    """A node of a layer."""

    node: ir.Node
    kind: str
    bits_in: bool
    bits_out: bool

    @property
    def is_conv(self) -> bool:
        return self.kind == "BinConv"

    @cached_property
    def weights(self) -> np.ndarray:
        """Packed, uint8 [N, ..., ceil(K / 8)]."""
        return self.parameter(1)

    @property
    def k(self) -> int:
        return self._integer("K")

    @property
    def group(self) -> int:
        return self._integer("group") if self.is_conv else 1

    @property
    def pads(self) -> tuple[int, ...]:
        return tuple(self.node.attributes.get_ints("pads", ())) if self.is_conv else ()

    @property
    def outputs(self) -> int:
        return int(self.weights.shape[0])

    @property
    def channels(self) -> int:
        """That come in."""
        return self.k * self.group

    @property
    def products(self) -> int:
        """Of one sum."""
        count = self.k
        for size in self.weights.shape[1:-1]:
            count *= int(size)
        return count

    def parameter(self, place: int) -> np.ndarray:
        """A constant input; a single zero where there is no shift.

        Raises:
            Unfit: It is none.
        """
        import numpy as np

        if place >= len(self.node.inputs) or self.node.inputs[place] is None:
            return np.zeros(1, np.float32)
        value = self.node.inputs[place]
        assert value is not None  # noqa: S101 - see above
        if value.const_value is None or value.is_graph_input():
            raise Unfit(f"'{value.name}' is no constant")
        return array(value.const_value)

    def _integer(self, name: str) -> int:
        value = self.node.attributes.get_int(name)
        if value is None or value < 1:
            raise Unfit(f"the attribute {name} is not as the operator wants it")
        return value


def layer_of(node: ir.Node) -> Layer | None:
    """The layer that a node is, if it is one."""
    for kind in _KINDS:
        form = node.op_type.removeprefix(kind)
        if node.domain == DOMAIN and node.op_type.startswith(kind) and form in {"", "Pack", "Bits", "Unpack"}:
            return Layer(node, kind, form in _BITS_IN, form in _BITS_OUT)
    return None
