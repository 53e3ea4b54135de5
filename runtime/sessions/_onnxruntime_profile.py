"""Reads the trace that ONNX Runtime's profiler writes (Chrome trace events, microseconds).

Kernel times are the events of category "Node" whose name ends in `_kernel_time`. A node with a
subgraph spans the events of its inner nodes, on the same thread; its own time is what is left
after them, so that times add up to no more than the whole.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.results import OperatorTime

_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class ExecutedNode:
    """A node that ran: its name and operator after optimization, and the provider it ran on."""

    name: str
    op: str
    provider: str


def read_events(path: Path, *, skip_runs: int) -> list[dict[str, Any]]:
    """Kernel events after the first `skip_runs` calls, in order of their start.

    Raises:
        EdgepackError: The trace is not what it should be.
    """
    try:
        events = json.loads(path.read_text(errors="replace"))
        ends = sorted(
            e["ts"] + e["dur"] for e in events if e["cat"] == "Session" and e["name"] == "model_run"
        )
        start = ends[skip_runs - 1] if skip_runs else 0
        kernels = [
            e for e in events if e["cat"] == "Node" and e["name"].endswith(_SUFFIX) and e["ts"] >= start
        ]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise EdgepackError(
            f"The trace of ONNX Runtime's profiler cannot be read: {type(error).__name__}: {error}",
            todo="Leave the profile out, and report the version of onnxruntime",
        ) from error
    return sorted(kernels, key=lambda event: (event["ts"], -event["dur"]))


def own_times(events: Sequence[dict[str, Any]]) -> list[int]:
    """Microseconds of each event less those directly inside it; `events` sorted by start."""
    own = [int(event["dur"]) for event in events]
    open_by_thread: dict[Any, list[int]] = defaultdict(list)
    for index, event in enumerate(events):
        stack = open_by_thread[event["tid"]]
        while stack and not _inside(event, events[stack[-1]]):
            stack.pop()
        if stack:
            own[stack[-1]] = max(0, own[stack[-1]] - int(event["dur"]))
        stack.append(index)
    return own


def _inside(event: dict[str, Any], outer: dict[str, Any]) -> bool:
    # Starts and durations are rounded apart, by a microsecond each; neighbours begin where the last ended.
    end = outer["ts"] + outer["dur"]
    return bool(event["ts"] < end and event["ts"] + event["dur"] <= end + 2)


def operator_times(events: Sequence[dict[str, Any]], runs: int) -> list[OperatorTime]:
    """Per operator: nodes executed and milliseconds, both per call; the largest first."""
    calls: dict[str, int] = defaultdict(int)
    micros: dict[str, int] = defaultdict(int)
    for event, own in zip(events, own_times(events), strict=True):
        op = event["args"]["op_name"]
        calls[op] += 1
        micros[op] += own
    total = sum(micros.values())
    rows = [
        OperatorTime(
            op=op,
            calls=round(calls[op] / runs),
            time_ms=micros[op] / runs / 1000,
            share=micros[op] / total if total else 0.0,
        )
        for op in calls
    ]
    return sorted(rows, key=lambda row: row.time_ms, reverse=True)


def executed_nodes(events: Sequence[dict[str, Any]]) -> list[ExecutedNode]:
    """The nodes behind the events of one call; a node of a loop's body appears once."""
    nodes = (
        ExecutedNode(e["name"].removesuffix(_SUFFIX), e["args"]["op_name"], e["args"]["provider"])
        for e in events
    )
    return list(dict.fromkeys(nodes))
