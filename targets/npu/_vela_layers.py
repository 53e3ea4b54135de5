"""Vela's estimate layer by layer: `*_per-layer.csv`, summed over the model's operators of one type.

Vela splits an operator into operations of the NPU (a softmax into some thirty), one row each, with the name of the
operator that it comes from and its cycles. With the clock f of the configuration

    t = cycles / f.

Operators that stay on the CPU have rows of 0 cycles: their time is not known, and they are left out.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from edgepack.toolchain.results import OperatorTime, Profile, Tool

_NPU = "NPU"


def read_layers(files: Iterable[Path], clock_hz: float | None, tool: Tool) -> Profile:
    """Vela's cycles as times per operator type; `calls` counts operations of the NPU.

    Args:
        files: What Vela wrote; the first that exists is read.
        clock_hz: The NPU's clock.
        tool: Vela.

    Returns:
        The times, or why there are none: a table that is not there or not understood is no error, for nothing that
        is shipped depends on it.
    """
    path = next((file for file in files if file.is_file()), None)
    if path is None or not clock_hz:
        return Profile(tool=tool, missing="Vela wrote no times per layer")
    cycles: dict[str, float] = {}
    calls: Counter[str] = Counter()
    try:
        with path.open(newline="", errors="replace") as file:
            for row in csv.DictReader(file):
                if row["Target"] == _NPU:
                    cycles[row["Original Operator"]] = cycles.get(row["Original Operator"], 0.0) + _number(
                        row
                    )
                    calls[row["Original Operator"]] += 1
    except (OSError, csv.Error, KeyError, ValueError) as error:
        return Profile(tool=tool, missing=f"Vela's table {path.name} cannot be read: {error}")
    total = sum(cycles.values())
    if total <= 0:
        return Profile(tool=tool, missing=f"Vela's table {path.name} holds no cycles")
    times = [
        OperatorTime(op=op, calls=calls[op], time_ms=1e3 * count / clock_hz, share=count / total)
        for op, count in sorted(cycles.items(), key=lambda pair: -pair[1])
    ]
    return Profile(operators=times, tool=tool)


def _number(row: dict[str, str]) -> float:
    value = float(row["Op Cycles"])
    if not math.isfinite(value) or value < 0:
        msg = f"its cycles are {row['Op Cycles']!r}"
        raise ValueError(msg)
    return value
