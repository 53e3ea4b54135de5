"""What nncase compiled: its own text of the program, in which every operator is the KPU's or the CPU's.

The compiler writes it after every pass; the one before instructions are made says what runs where (2.11.0)::

    %main = fn(%x: f32[1,3,32,32]): // (f32[1,3,32,32]) -> f32[1,10]
    {
      %TileConv2dCase_0 = fusion<k230>(%var_2: u8[1,3,32,32]): // (u8[1,3,32,32]) -> u8[1,16,16,16]
      {
        %0 = GNNELoad(%var_2: u8[1,3,32,32]): // u8[1,3,32,32]
        ...
      }
      %0 = %TileConv2dCase_0(%x): // u8[1,16,16,16]              a call of a fusion: the KPU's
      %1 = Softmax(%0, const(i64 : 1)): // f32[1,16,16,16]        an operator: the CPU's
      %2 = Reshape(%1, const(i32[2] : {1,4096})): // f32[1,4096]  the same memory under another shape: nobody's
    }

That a Reshape moves nothing, and no Squeeze or Unsqueeze: `tensor_reshape` in
src/Native/src/kernels/stackvm/tensor_ops.cpp of nncase. Operators have no names of the model's here; `named` finds the
ONNX node with the same operator and shape, in order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgepack.toolchain.errors import ToolchainFailedError

KPU = "KPU"
CPU = "CPU"
WRITTEN = "*_TargetDependentAfterQuantPass/*_Fusion/main/End_main.il"
"""Where the compiler writes the text, below the folder that it is given."""

_FUSION = re.compile(r"^  %[\w.]+ = fusion<(?P<module>\w+)>\(")
_CALL = re.compile(r"^  %(?P<name>\d+) = (?P<called>%?)(?P<op>\w+)\((?P<arguments>.*)\): // (?P<type>\S.*)$")
_TUPLE = re.compile(r"^  %\d+ = \(.*\): // ")
_HEAD = re.compile(r"^%\w+ = fn\((?P<inputs>.*?)\): // \(.*\) -> (?P<outputs>.*)$")
_OUTPUT = re.compile(r"\w+(?:\[([\d,]*)\])?(?=[,)]|$)")
_INPUT = re.compile(r"%([^\s:(),]+): (\w+\[[\d,]*\]|\w+)")
_ARGUMENT = re.compile(r"%([^\s:(),]+)|const\(\w+\[([\d,]*)\]")
_KIND = re.compile(r"(?:BinaryOp|UnaryOp|ReduceOp|CompareOp)\.(\w+)")
_KINDS = frozenset({"Binary", "Unary", "Reduce", "Compare"})
_VIEWS = frozenset({"GetItem", "Reshape", "Squeeze", "Unsqueeze"})
_LONGEST = 120


@dataclass(frozen=True)
class Operator:
    """One step of the program.

    Attributes:
        op: The operator as ONNX calls it; for the KPU's the kind of fusion ("TileConv2dCase_0").
        where: `KPU` or `CPU`.
        type: Of its result, "u8[1,16,16,16]".
        inputs: Shapes of its tensors, in order; empty where one is not known.
        node: The ONNX node that it is, for the CPU's; else a name of its own.
    """

    op: str
    where: str
    type: str
    inputs: tuple[tuple[int, ...], ...] = ()
    node: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its result."""
        return _shape(self.type)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of a product on the CPU; 0 for what is none; None where a shape is not known."""
        if self.where == KPU or self.op not in _PRODUCTS:
            return 0
        if len(self.inputs) < 2 or not self.inputs[0] or not self.inputs[1]:  # noqa: PLR2004 - x and w
            return None
        if self.op == "MatMul":
            return math.prod(self.shape) * self.inputs[0][-1]
        if self.op == "ConvTranspose":
            return math.prod(self.inputs[0]) * math.prod(self.inputs[1][1:])
        return math.prod(self.shape) * math.prod(self.inputs[1][1:])


_PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul"})
_STANDARD = {
    "Conv2D": "Conv",
    "Conv2DTranspose": "ConvTranspose",
    "LogicalAnd": "And",
    "LogicalNot": "Not",
    "LogicalOr": "Or",
    "GreaterThan": "Greater",
    "LowerThan": "Less",
    "ResizeImage": "Resize",
}
"""nncase's names of ONNX's operators, where they differ."""


def read(dump: Path, outputs: Sequence[tuple[int, ...]]) -> list[Operator]:
    """The program's operators in order, views left out.

    Args:
        dump: The folder that the compiler wrote its passes into.
        outputs: Shapes of the model's outputs.

    Raises:
        ToolchainFailedError: The text is not there, cannot be read, or is that of a program with other outputs.
    """
    found = sorted(dump.glob(WRITTEN))
    if len(found) != 1:
        raise ToolchainFailedError("nncase wrote no text of what it compiled, which says what runs where")
    text = found[0].read_text(encoding="utf-8", errors="replace")
    operators = list(parse(text))
    made = next((head["outputs"] for head in map(_HEAD.match, text.splitlines()) if head), "")
    shapes = [_dims(dims) for dims in _OUTPUT.findall(made)]
    if shapes != list(outputs):
        raise ToolchainFailedError(
            f"nncase compiled a program that gives arrays of {shapes}, and the model gives {list(outputs)}",
            todo="Use another --size: it takes axes of equal length for one another (2.11.0)",
        )
    return operators


def parse(text: str) -> Iterator[Operator]:
    """The operators of one text."""
    types: dict[str, str] = {}
    fusions = calls = 0
    for line in text.splitlines():
        if head := _HEAD.match(line):
            types |= dict(_INPUT.findall(head["inputs"]))
        elif fusion := _FUSION.match(line):
            if fusion["module"] != "k230":
                raise ToolchainFailedError(f"nncase compiled for {fusion['module']} and not for the K230")
            fusions += 1
        elif call := _CALL.match(line):
            types[call["name"]] = call["type"]
            calls += bool(call["called"])
            yield from _operator(call, types)
        elif line.startswith("  %") and not _TUPLE.match(line):
            raise ToolchainFailedError(
                f"nncase wrote a line of its program that cannot be read: {line[:_LONGEST]}"
            )
    if not types or calls < fusions:
        raise ToolchainFailedError(f"nncase wrote a program that calls {calls} of its {fusions} fusions")


def _operator(call: re.Match[str], types: Mapping[str, str]) -> Iterator[Operator]:
    """What one line computes; nothing where it is a view."""
    name, arguments = call["op"], call["arguments"]
    if call["called"]:
        yield Operator(name, KPU, call["type"])
    elif name not in _VIEWS:
        kind = _KIND.search(arguments) if name in _KINDS else None
        op = f"{'Reduce' * (name == 'Reduce')}{kind[1]}" if kind else name
        yield Operator(_STANDARD.get(op, op), CPU, call["type"], _inputs(arguments, types))


def _inputs(arguments: str, types: Mapping[str, str]) -> tuple[tuple[int, ...], ...]:
    found = []
    for name, constant in _ARGUMENT.findall(arguments):
        found.append(_shape(types.get(name, "")) if name else _dims(constant))
    return tuple(found)


def _shape(type_: str) -> tuple[int, ...]:
    return _dims(type_.partition("[")[2].partition("]")[0])


def _dims(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(",") if size)


def named(operators: Sequence[Operator], nodes: Sequence[tuple[str, str, tuple[int, ...]]]) -> list[Operator]:
    """The operators with the names of the ONNX nodes that those of the CPU are.

    Args:
        operators: Of a program, in order.
        nodes: Name, operator and shape of its output of every ONNX node, in order.
    """
    left = list(nodes)
    made = []
    for index, one in enumerate(operators):
        if one.where == KPU:
            made.append(replace(one, node=f"{one.op}#{index}"))
            continue
        size = _without_ones(one.shape)
        match = next((node for node in left if node[1] == one.op and _without_ones(node[2]) == size), None)
        if match is not None:
            left.remove(match)
        made.append(replace(one, node=f"{one.op}#{index}" if match is None else match[0]))
    return made


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
