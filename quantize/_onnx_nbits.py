"""Puts blockwise weights (`_onnx_blocks`) into a graph: MatMulNBits for products, GatherBlockQuantized for lookups.

    y = x W + b            MatMulNBits(x, levels, scales, zeros) + b
    y = table[ids]         GatherBlockQuantized(levels, ids, scales)

Both are operators of ONNX Runtime. Weights are rounded when they are asked for, one at a time: writing the model
asks for the tensors of one weight in a row, so that each is rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepack.quantize._onnx_blocks import Blocks, half_quadratic, nearest
from edgepack.quantize._onnx_edit import Builder
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.quantize._onnx_layers import Linear, Lookup

DOMAIN = "com.microsoft"


@dataclass(frozen=True)
class Rule:
    """How weights are rounded, and how products are computed.

    Attributes:
        bits: 4 or 8.
        block: Weights that share a scale.
        symmetric: Whether there are no zero points.
        hqq: Half-quadratic instead of nearest; its zero points are floats.
        accuracy_level: Attribute of MatMulNBits: 4 for int8, 0 for float32.
    """

    bits: int
    block: int
    symmetric: bool = True
    hqq: bool = False
    accuracy_level: int = 4

    def round(self, weight: np.ndarray) -> Blocks:
        """Blocks of a float32 weight [K, N]."""
        if self.hqq:
            return half_quadratic(weight, self.block)
        return nearest(weight, self.bits, self.block, symmetric=self.symmetric)

    def packs(self, width: int) -> bool:
        """Whether a row of so many levels ends with a byte, as a table's must."""
        return width * self.bits % 8 == 0


class Rewriter:
    """Replaces nodes of one graph.

    Args:
        graph: Changed in place.
        rule: How weights are rounded.
    """

    def __init__(self, graph: ir.Graph, rule: Rule) -> None:
        self._graph = graph
        self._rule = rule
        self._last: tuple[object, Blocks] | None = None
        self._tables: dict[int, tuple[ir.Value, ir.Value]] = {}

    def product(self, linear: Linear, blocks: Blocks | None = None) -> None:
        """Replace a product; its weight is rounded by the rule unless `blocks` are given."""
        rule = self._rule
        inputs, outputs = linear.inputs, linear.outputs
        count = -(-inputs // rule.block)

        def compute() -> Blocks:
            return blocks if blocks is not None else rule.round(linear.oriented(array(linear.weight)))

        build = Builder(self._graph, f"{linear.node.outputs[0].name}/int{rule.bits}")
        key = object()
        levels = self._tensor(
            key, compute, lambda made: made.levels, "UINT8", (outputs, count, rule.block * rule.bits // 8)
        )
        scales = self._tensor(key, compute, lambda made: made.scales, "FLOAT", (outputs, count))
        operands = [linear.input, build.constant(levels, "levels"), build.constant(scales, "scales")]
        if rule.hqq:
            zeros = self._tensor(key, compute, _zeros, "FLOAT", (outputs, count))
            operands.append(build.constant(zeros, "zeros"))
        elif blocks is None and not rule.symmetric:
            zeros = self._tensor(key, compute, _zeros, "UINT8", (outputs, -(-count * rule.bits // 8)))
            operands.append(build.constant(zeros, "zeros"))
        attributes = {"K": inputs, "N": outputs, "bits": rule.bits, "block_size": rule.block}
        if rule.accuracy_level:
            attributes["accuracy_level"] = rule.accuracy_level
        result = build.add("MatMulNBits", operands, attributes, domain=DOMAIN)
        if linear.bias is not None:
            result = build.add("Add", [result, linear.bias])
        build.replace(linear.node, result)

    def lookup(self, lookup: Lookup) -> None:
        """Replace a lookup by one in symmetric blocks; a table that several nodes look up is stored once."""
        rule = self._rule
        build = Builder(self._graph, f"{lookup.node.outputs[0].name}/int{rule.bits}")
        if id(lookup.table) not in self._tables:
            self._tables[id(lookup.table)] = self._table(lookup, build)
        levels, scales = self._tables[id(lookup.table)]
        attributes = {"bits": rule.bits, "block_size": rule.block, "gather_axis": 0, "quantize_axis": 1}
        operands = [levels, lookup.indices, scales]
        build.replace(lookup.node, build.add("GatherBlockQuantized", operands, attributes, domain=DOMAIN))

    def _table(self, lookup: Lookup, build: Builder) -> tuple[ir.Value, ir.Value]:
        rule, table = self._rule, lookup.table
        rows, width = table.shape.numpy()
        packed = width * rule.bits // 8
        plain = Rule(rule.bits, rule.block)  # lookups have neither float zero points nor products to speed up

        def compute() -> Blocks:
            return plain.round(array(table).T)

        def cut(made: Blocks) -> np.ndarray:
            return made.levels.reshape(rows, -1)[:, :packed]

        key = object()
        levels = self._tensor(key, compute, cut, "UINT8", (rows, packed))
        scales = self._tensor(
            key, compute, lambda made: made.scales, "FLOAT", (rows, -(-width // rule.block))
        )
        return build.constant(levels, "levels"), build.constant(scales, "scales")

    def _tensor(
        self,
        key: object,
        compute: Callable[[], Blocks],
        pick: Callable[[Blocks], Any],
        dtype: str,
        shape: tuple[int, ...],
    ) -> ir.LazyTensor:
        """A tensor of the blocks that belong to `key`, of which the last computed are kept."""
        import numpy as np
        import onnx_ir as ir

        def evaluate() -> ir.TensorProtocol:
            if self._last is None or self._last[0] is not key:
                self._last = (key, compute())
            return ir.Tensor(np.ascontiguousarray(pick(self._last[1])))

        return ir.LazyTensor(evaluate, dtype=ir.DataType[dtype], shape=ir.Shape(shape))


def _zeros(made: Blocks) -> Any:
    return made.zeros
