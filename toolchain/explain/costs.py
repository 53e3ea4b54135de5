"""What the operators that were left cost: their shares of multiplications, of bytes, and of operators.

    bytes(operator) = sum over its inputs, weights and results of elements x width

Bytes are what an operator moves once, and a lower bound of what a CPU has to fetch for it. A vendor's estimate of time
leaves out what its accelerator does not run, so there is no share of time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgepack.toolchain import tflite
from edgepack.toolchain.explain.results import LeftNode, Problem
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.results import Placement

_BITS = {"float64": 64, "int64": 64, "float32": 32, "int32": 32, "uint32": 32, "float16": 16, "int16": 16, "uint16": 16,
         "int4": 4, "int2": 2}  # fmt: skip
_NAMED = re.compile(r"\s*\([^()]*\)(?=\s|$)")


@dataclass(frozen=True)
class Costs:
    """Multiplications and bytes by operator; empty for a form of which they are not known."""

    macs: Mapping[str, int]
    bytes: Mapping[str, int]


def costs_of(lowered: Lowered) -> Costs:
    """Weigh the operators of a `.tflite` file.

    Raises:
        SourceError: The file cannot be read.
    """
    if lowered.format != "tflite":
        return Costs({}, {})
    found = list(tflite.operators(tflite.read(lowered.path)))
    return Costs({one.name: one.macs for one in found}, {one.name: _bytes(one) for one in found})


def _bytes(operator: tflite.Operator) -> int:
    tensors = [tensor for tensor in (*operator.inputs, *operator.outputs) if tensor is not None]
    return sum((math.prod(tensor.shape) * _BITS.get(tensor.dtype, 8) + 7) // 8 for tensor in tensors)


def left_nodes(placement: Placement, costs: Costs) -> list[LeftNode]:
    """The operators that were left, the dearest first."""
    macs, size = sum(costs.macs.values()), sum(costs.bytes.values())
    nodes = [
        LeftNode(
            node=one.node,
            op=one.op,
            reason=one.reason,
            cure=one.cure,
            macs=costs.macs.get(one.node),
            bytes=costs.bytes.get(one.node),
            macs_share=_share(costs.macs.get(one.node), macs),
            bytes_share=_share(costs.bytes.get(one.node), size),
        )
        for one in placement.reasons
    ]
    return sorted(nodes, key=lambda one: (-(one.macs or 0), -(one.bytes or 0), one.node))


def problems_of(nodes: Sequence[LeftNode], operators: int) -> list[Problem]:
    """Operators of one kind that were left for one reason, together; in the order of `nodes`."""
    groups: dict[tuple[str, str], list[LeftNode]] = {}
    for node in nodes:
        groups.setdefault((node.op, unnamed(node.reason)), []).append(node)
    return [
        Problem(
            op=op,
            reason=reason,
            cure=group[0].cure,
            nodes=[node.node for node in group],
            operators_share=len(group) / operators,
            macs_share=_total(node.macs_share for node in group),
            bytes_share=_total(node.bytes_share for node in group),
        )
        for (op, reason), group in groups.items()
    ]


def unnamed(reason: str) -> str:
    """A reason without the names of tensors, which vendors put in parentheses behind what they say."""
    return _NAMED.sub("", reason).strip()


def _share(part: int | None, whole: int) -> float | None:
    return None if part is None or not whole else part / whole


def _total(shares: object) -> float | None:
    found = [share for share in shares if share is not None]  # type: ignore[attr-defined]
    return sum(found) if found else None
