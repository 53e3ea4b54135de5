"""Divisors that are kept away from 0: what they are made of, and the bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import constant, standard

if TYPE_CHECKING:
    import onnx_ir as ir


def through(value: ir.Value | None, op: str) -> ir.Value | None:
    """What a value is made of by one operator of that name; the value itself where it is not."""
    producer = None if value is None else value.producer()
    return value if producer is None or not standard(producer, op) else producer.inputs[0]


def bounded(value: ir.Value | None) -> tuple[ir.Value | None, float | None]:
    """A value and the positive number below which it does not go; None where there is no such number."""
    producer = None if value is None else value.producer()
    if producer is None or not standard(producer, "Clip", "Max"):
        return None, None
    if producer.op_type == "Clip":
        has_top = len(producer.inputs) > 2 and producer.inputs[2] is not None  # noqa: PLR2004 - x, low, high
        pairs = [] if has_top or len(producer.inputs) < 2 else [(producer.inputs[0], producer.inputs[1])]  # noqa: PLR2004
    else:
        pairs = (
            [(producer.inputs[0], producer.inputs[1]), (producer.inputs[1], producer.inputs[0])]
            if (
                len(producer.inputs) == 2  # noqa: PLR2004 - max of two
            )
            else []
        )
    for inner, bound in pairs:
        number = constant(bound)
        if number is not None and number.size == 1 and 0 < float(number.reshape(-1)[0]) < math.inf:
            return inner, float(number.reshape(-1)[0])
    return None, None
