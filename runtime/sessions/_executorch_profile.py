"""Reads the event trace of ExecuTorch (ETDump) with its Inspector.

A call of an operator is an event OPERATOR_CALL round native_call_NAME, which is the kernel; a call of XNNPACK is one,
DELEGATE_CALL, round its kernels', which bear XNNPACK's names and a number. Events of one instruction lie next to each
other. Times of the kernels add up to what Method::execute takes, less the interpreter's own work.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from pathlib import Path

from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.results import OperatorTime
from edgepack.toolchain.vendors.executorch import hushed

_KERNEL = "native_call_"
_DELEGATE = "DELEGATE_CALL"
_ROUND = frozenset({"OPERATOR_CALL", "Method::execute", "Method::init", "Program::load_method"})
_NUMBER = re.compile(r" #\d+$")
_EXECUTE = "Execute"
REST = "rest of XNNPACK's calls"


def operator_times(trace: Path, skip_runs: int) -> list[OperatorTime]:
    """Per operator: kernels run and milliseconds, both per call; the largest first.

    Args:
        trace: The ETDump file.
        skip_runs: First calls that do not count.

    Raises:
        EdgepackError: The trace is not what it should be.
    """
    calls: dict[str, int] = defaultdict(int)
    times: dict[str, float] = defaultdict(float)
    for name, raw, delegated in _events(trace):
        if name in _ROUND:
            continue
        mean = sum(raw[skip_runs:]) / max(1, len(raw) - skip_runs)
        if name == _DELEGATE:
            times[REST] += mean
            calls[REST] += 1
        elif delegated:
            shown = f"{_NUMBER.sub('', name)} (XNNPACK)"
            calls[shown] += 1
            times[shown] += mean
            times[REST] -= mean
        else:
            shown = f"{name.removeprefix(_KERNEL)} (portable)"
            calls[shown] += 1
            times[shown] += mean
    if REST in times:
        times[REST] = max(0.0, times[REST])
    total = sum(times.values())
    rows = [
        OperatorTime(op=op, calls=calls[op], time_ms=time, share=time / total if total else 0.0)
        for op, time in times.items()
    ]
    return sorted(rows, key=lambda row: row.time_ms, reverse=True)


def _events(trace: Path) -> list[tuple[str, list[float], bool]]:
    """Name, milliseconds of every call, and whether XNNPACK ran it."""
    try:
        with warnings.catch_warnings(), hushed():
            warnings.simplefilter("ignore")
            from executorch.devtools import Inspector

            blocks = Inspector(etdump_path=str(trace)).event_blocks
        return [
            (event.name, list(event.perf_data.raw), bool(event.is_delegated_op))
            for block in blocks
            if block.name == _EXECUTE
            for event in block.events
            if event.perf_data is not None
        ]
    except Exception as error:
        raise EdgepackError(
            f"The trace of ExecuTorch's profiler cannot be read: {type(error).__name__}: {error}",
            todo="Leave the profile out, and report the version of executorch",
        ) from error
