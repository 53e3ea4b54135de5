"""Where every layer of a compiled model runs and what it costs, from the table that the toolkit's compiler logs.

    ID   OpType    DataType Target InputShape                  OutputShape   Cycles(DDR/NPU/Total)  RW(KB)  FullName
    1    ConvRelu  INT8     NPU    (1,3,16,16),(8,3,3,3),(8)   (1,8,16,16)   266/2304/2304          2       Conv:conv1

For an RK3576 a column more, SparseRatio, stands in front of RW(KB). The table is the compiler's after fusion, of one
version: it is read strictly, and a log in which it is not found, or a row that is none, is an error, for without it
nobody knows what the CPU computes. InputOperator and OutputOperator are the model's ends and no layers.

Multiply-accumulate operations, from the shapes of the first two inputs a and w and of the output y, |x| being the
number of elements of x:

    convolution, w [out, in / groups, kh, kw]       |y| |w| / out
    depthwise, w [1, channels, kh, kw]              |y| kh kw
    product [b, m, k] x [b, k, n] = [b, m, n]       |y| k,   where |a| |w| / |y| = b k^2, or k^2 if w has no batch
    attention, q [h, d, 1, m], k [h, d, 1, n]       |q| n + |y| n,   its two products fused into one layer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgepack.toolchain.errors import NothingPlacedError, ToolchainFailedError
from edgepack.toolchain.results import NodeReason, Placement, Tool

ENDS = frozenset({"InputOperator", "OutputOperator"})
NPU = "NPU"

_HEADER = re.compile(r"ID\s+OpType\s+DataType\s+Target\s+InputShape\s+OutputShape\s+Cycles\(DDR/NPU/Total\)")
_RULE = re.compile(r"-{20,}\s*$")
_PREFIX = re.compile(r"^\S*\s*RKNN: \[[^\]]*\]\s?")
_ROW = re.compile(
    r"(?P<id>\d+)\s+(?P<op>\S+)\s+(?P<dtype>\S+)\s+(?P<target>\S+)\s+(?P<inputs>\S+)\s+(?P<outputs>\S+)\s+"
    r"(?P<ddr>\d+)/(?P<npu>\d+)/(?P<total>\d+)\s+(?:\d+%\s+)?(?P<kilobytes>\d\S*)(?:\s+(?P<name>\S.*?))?\s*$"
)
_SHAPE = re.compile(r"\(([\d,]*)\)")


@dataclass(frozen=True)
class Layer:
    """One row of the table.

    Attributes:
        op: The compiler's name of the operator.
        dtype: INT8, INT16, FLOAT16, ...
        target: NPU or CPU (or GPU).
        inputs: Shapes, weights included.
        output: Shape of the first output; empty if there is none.
        cycles: The compiler's estimate; 0 where it makes none.
        name: Kind and name of the node that it comes from, "Conv:conv1"; with its number, "Conv:#2", what the compiler
            made by itself (2.5.0 does for an input of one row that is added to scores).
    """

    op: str
    dtype: str
    target: str
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    cycles: int
    name: str

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations; 0 for what is no convolution and no matrix product."""
        if len(self.inputs) < _PAIR or not self.output:
            return 0
        if self.op == _ATTENTION:
            return (
                math.prod(self.inputs[0]) * self.inputs[1][-1] + math.prod(self.output) * self.inputs[1][-1]
            )
        first, second, out = self.inputs[0], self.inputs[1], math.prod(self.output)
        if "MatMul" in self.op and out:
            return out * _inner(first, second, self.output)
        if "Conv" not in self.op or len(second) != _IMAGE or not second[0]:
            return 0
        depthwise = second[0] == 1 and second[1] == self.output[1]
        return out * math.prod(second[2:] if depthwise else second[1:])


_PAIR, _IMAGE = 2, 4
_ATTENTION = "exSDPAttention"


def _inner(first: Sequence[int], second: Sequence[int], out: Sequence[int]) -> int:
    """The summed dimension k of a product, its second factor with the batch or without; 0 if no size can be it."""
    square = math.prod(first) * math.prod(second) // math.prod(out)
    for batch in (math.prod(out[:-2]), 1):
        k = math.isqrt(square // batch)
        if batch * k * k == square and k in first and k in second:
            return k
    return 0


def read_layers(log: str) -> list[Layer]:
    """The rows of the last table in a log.

    Raises:
        ToolchainFailedError: There is none, or a row that cannot be read.
    """
    lines = [_PREFIX.sub("", line) for line in log.splitlines()]
    heads = [index for index, line in enumerate(lines) if _HEADER.search(line)]
    if not heads:
        raise ToolchainFailedError(
            "rknn-toolkit2 logged no table of layers: what runs on the NPU is not known",
            todo="Make its environment again: the table is read as its locked version writes it",
        )
    layers = []
    for line in lines[heads[-1] + 2 :]:  # the header and the rule below it
        if _RULE.match(line.strip()):
            break
        row = _ROW.match(line.strip())
        if row is None:
            raise ToolchainFailedError(
                f"A row of rknn-toolkit2's table of layers cannot be read: {line[:120]!r}"
            )
        if row["op"] not in ENDS:
            layers.append(
                Layer(
                    row["op"], row["dtype"], row["target"], _shapes(row["inputs"]),
                    next(iter(_shapes(row["outputs"])), ()), int(row["total"]),
                    row["name"] or f"{row['op']}:#{row['id']}",
                )
            )  # fmt: skip
    return layers


def _shapes(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(size) for size in one.split(",") if size) for one in _SHAPE.findall(text))


def placed(layers: Sequence[Layer], device: str, tool: Tool) -> Placement:
    """Placement of a compiled model's layers.

    Raises:
        NothingPlacedError: Not one is on the NPU.
    """
    here = [layer for layer in layers if layer.target == NPU]
    found = Placement(
        accelerator=len(here),
        cpu=len(layers) - len(here),
        reasons=[_reason(layer) for layer in layers if layer.target != NPU],
        device=device,
        tool=tool,
    )
    if not here:
        nothing = NothingPlacedError(
            f"rknn-toolkit2 put none of {len(layers)} layers on the NPU",
            where=device,
            todo="Use another --precision or another target",
        )
        nothing.placement = found  # what a rewrite may cure, and `explain` shows
        raise nothing
    return found


def _reason(layer: Layer) -> NodeReason:
    if layer.op in _LAYOUT:
        return NodeReason(
            node=layer.name, op=layer.op,
            reason="a change of layout that the NPU's channel blocks cannot express, computed by copying on the CPU",
            cure="Keep four dimensions with channels second around it, or end the model before it",
        )  # fmt: skip
    if layer.op in _LOOKUP:
        return NodeReason(
            node=layer.name, op=layer.op,
            reason="the NPU has no table lookup: rows are copied by the CPU",
            cure="Keep it on the host with --host lookups, or give the model the looked-up rows as its input",
        )  # fmt: skip
    return NodeReason(
        node=layer.name, op=layer.op,
        reason=f"the compiler gave it to the {layer.target} as {layer.dtype} and says no reason",
        cure=f"Replace {layer.op} by convolutions, products and elementwise operators, or use --precision fp16",
    )  # fmt: skip


_LAYOUT = frozenset(
    {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Tile", "Slice", "Concat"}
)
_LOOKUP = frozenset({"Gather", "GatherElements", "GatherND"})
