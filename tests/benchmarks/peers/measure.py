"""The process that judges and times a task's forms: all of them loaded, one thread each, taking turns.

    python -m tests.benchmarks.peers.measure PLAN.json RESULT.json

The plan is {"task": name, "seconds": limit, "entries": [...]}, an entry {"who", "form"} with either {"peer",
"folder"} or {"ours": fields of `ours.Ours`}; the first is the baseline. The process stays on one core, so that no
runtime's pool can help itself to another, and times are its own CPU time, all threads summed: what other programs take
of the core in between does not count.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.peers.build import FAILED

_LONGEST = 300
LOADS = 3
"""Loads of each that a near race is decided by: two loads of one file differ by up to 3 %."""
_NEAR = (0.9, 1.1)


def main(plan_file: str, result_file: str) -> None:
    """Measure what the plan names."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    plan = json.loads(Path(plan_file).read_text())
    Path(result_file).write_text(json.dumps(measured(plan["task"], plan["entries"], plan["seconds"])))


def measured(task_name: str, entries: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    """Measures and times.

    Returns:
        {"entries": [{"who", "form", and either "failed" or "measures", "ms", "ratio", "low", "high"}],
        "pairs": {our form: {place of another entry: ratio of times, above 1 where we are faster}}, "load": average}.
    """
    import numpy as np

    from edgepack.runtime.timing import measure_together
    from tests.benchmarks.peers import models

    samples, measures = models.samples(task_name), models.TASKS[task_name].measures
    calls: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    reference: np.ndarray | None = None
    for place, entry in enumerate(entries):
        row: dict[str, Any] = {"who": entry["who"], "form": entry["form"]}
        found.append(row)
        try:
            call = _open(task_name, entry)
            outputs = np.concatenate([call(feed) for feed in samples.held_out])
        except Exception as error:  # noqa: BLE001 - a runtime raises anything; the table says what
            row["failed"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST]
            continue
        reference = outputs if reference is None else reference
        row["measures"] = models.judge(measures, reference, outputs)
        calls[str(place)] = lambda call=call: call(samples.timed)
    timed = measure_together(
        calls,
        "0",
        threads=1,
        shapes={name: value.shape for name, value in samples.timed.items()},
        max_seconds=seconds,
        clock=time.process_time_ns,
    )
    for name, latency in timed.latencies.items():
        row = found[int(name)]
        row["ms"], row["note"] = latency.p50_ms, latency.note
        against = timed.comparisons.get(name)
        row |= {"ratio": 1.0} if against is None else {
            "ratio": against.ratio, "low": against.ci_low, "high": against.ci_high
        }  # fmt: skip
    pairs = {
        our: {
            other: timed.compare(our, other).ratio
            for other in calls
            if "ours" not in entries[int(other)]
        }
        for our in calls
        if "ours" in entries[int(our)]
    }  # fmt: skip
    for our, ratios in pairs.items():
        near = [other for other, ratio in ratios.items() if _NEAR[0] < ratio < _NEAR[1]]
        if near:
            again = _reloaded(task_name, entries, our, near, samples.timed, seconds)
            print(f"{entries[int(our)]['form']} once more, {LOADS} loads each: {again}", file=sys.stderr)
            ratios.update(again)
    return {"entries": found, "pairs": pairs, "load": os.getloadavg()[0]}


def _reloaded(
    task_name: str,
    entries: Sequence[Mapping[str, Any]],
    our: str,
    others: Sequence[str],
    feed: Any,
    seconds: float,
) -> dict[str, float]:
    """The ratios of ours to near others from several loads of each: where a load lies in memory is its luck."""
    from edgepack.runtime.timing import measure_together

    calls: dict[str, Any] = {}
    for load in range(LOADS):
        for place in (our, *others):
            call = _open(task_name, entries[int(place)])
            calls[f"{place}/{load}"] = lambda call=call: call(feed)
    timed = measure_together(
        calls,
        f"{our}/0",
        threads=1,
        shapes={name: value.shape for name, value in feed.items()},
        max_seconds=seconds,
        give_up_ratio=None,
        clock=time.process_time_ns,
    )
    return {
        other: median(
            timed.compare(f"{our}/{mine}", f"{other}/{theirs}").ratio
            for mine in range(LOADS)
            for theirs in range(LOADS)
        )
        for other in others
    }


def _open(task_name: str, entry: Mapping[str, Any]) -> Any:
    from tests.benchmarks.peers import base, models, ours

    if "ours" in entry:
        return ours.open_artifact(ours.Ours(**entry["ours"]))
    folder = Path(entry["folder"])
    if (folder / FAILED).is_file():
        raise RuntimeError((folder / FAILED).read_text())
    return base.peer(entry["peer"]).open(models.TASKS[task_name], entry["form"], folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
