"""Times of one part, or of the program's calls in a row, on given cores, in a process made for it.

A repetition is one call of a part, or all recorded calls of the program from a fresh state. The repetition after
a reading of clocks and sensors (`samples.py`) finds caches that this work left, and is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.runtime._memory_child import high_water_bytes
from edgepack.runtime._timing_steps import Clock, warm_up, without_collector
from edgepack.runtime.devices.runner import loadgen, parts, plans, readings
from edgepack.runtime.devices.runner.samples import Samples, Step, told
from edgepack.toolchain import files
from edgepack.toolchain.errors import DeviceError
from edgepack.toolchain.links import StatefulProgram

_WARM_UP_SHARE = 0.25  # of max_seconds, as on the host
_FEWEST = 1


def measure(request: Mapping[str, Any], clock: Clock = time.perf_counter_ns) -> dict[str, Any]:
    """Measure what `request["unit"]` names, on `request["plan"]`.

    Returns:
        load_ms, warm_up: As `timing` has them.
        memory: VmHWM in bytes after imports, loading, warm-up, and at the end.
        samples: File, SHA-256, and how many steps a repetition has.
        windows: Of every writing the seconds since the first, repetitions so far, and what the device said.
        loadgen: What MLPerf's LoadGen says, where a scenario was asked for and this Python has it; else None.
        before, after: What the device said.
        Or {"skipped": why} when the system refuses the cores.
    """
    unit, plan, root = request["unit"], request["plan"], Path(request["root"])
    if plan["cpus"] is not None and (why := plans.pin(plan["cpus"])) is not None:
        return {"skipped": why}
    calls = unit["calls"]
    names = list(dict.fromkeys(call["part"] for call in calls))
    given = _given(request, unit)
    parts.prepare(request, names)
    memory = {"baseline_bytes": high_water_bytes()}
    began = clock()
    with parts.opened(request, names, plan["threads"]) as opened:
        load_ms = (clock() - began) / 1e6
        memory["load_bytes"] = high_water_bytes()
        reset: Step | None = None
        if unit["linked"]:
            program = parts.program(request, opened)
            steps = [_step(program, call["part"], feed) for call, feed in zip(calls, given, strict=True)]
            reset = program.reset
        else:
            run = opened[names[0]].run
            steps = [lambda feed=given[0]: run(feed)]  # type: ignore[misc]
        with without_collector():
            before = readings.reading(root)
            warm = warm_up(_repetition(steps, reset), clock, request["max_seconds"] * _WARM_UP_SHARE)
            memory["peak_bytes"] = high_water_bytes()
            windows, by_loadgen = _sample(request, steps, reset, clock, root, warm.typical_ms)
            after = readings.reading(root)
        memory["end_bytes"] = high_water_bytes()
    return {
        "load_ms": load_ms,
        "warm_up": {
            "first_ms": warm.first_ms,
            "runs": warm.runs,
            "steady": warm.steady,
            "typical_ms": warm.typical_ms,
        },
        "memory": memory,
        "samples": {
            "file": request["samples"],
            "sha256": files.hash_file(Path(request["samples"])).sha256,
            "steps": len(steps),
        },
        "windows": windows,
        "loadgen": by_loadgen,
        "before": before,
        "after": after,
    }


def _given(request: Mapping[str, Any], unit: Mapping[str, Any]) -> list[parts.Arrays]:
    if unit["linked"]:
        return parts.feeds(request["calls"]["file"])
    return [parts.load(unit["feed"])]


def _step(program: StatefulProgram, part: str, feed: parts.Arrays) -> Step:
    return lambda: program.call(part, feed)


def _repetition(steps: list[Step], reset: Step | None) -> Step:
    """One repetition as one call, for the warm-up."""
    if reset is None and len(steps) == 1:
        return steps[0]

    def run() -> None:
        if reset is not None:
            reset()
        for step in steps:
            step()

    return run


def _sample(
    request: Mapping[str, Any],
    steps: list[Step],
    reset: Step | None,
    clock: Clock,
    root: Path,
    typical_ms: float,
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Repeat until there are enough samples and seconds, or the limit is reached; by LoadGen where it is to and can."""
    with Path(request["samples"]).open("wb") as file:
        samples = Samples(steps, reset, file, clock=clock, root=root, every_s=request["every_s"])
        generator = loadgen.load() if request.get("scenario") else None
        by_loadgen = None
        if generator is not None:
            by_loadgen = loadgen.generate(generator, request, samples, typical_ms)
        else:
            _repeat(request, samples, _repetition(steps, reset))
    if not samples.done:
        raise DeviceError("Nothing was measured")
    return samples.windows, by_loadgen


def _repeat(request: Mapping[str, Any], samples: Samples, whole: Step) -> None:
    fewest, least_s = max(_FEWEST, request["min_samples"]), request["min_seconds"]
    while True:
        samples.take()
        seconds = samples.seconds
        over = (samples.done >= fewest and seconds >= least_s) or seconds >= request["max_seconds"]
        if not over and not samples.due:
            continue
        samples.write()
        if over:
            return
        told(samples.done, fewest, seconds, least_s)
        whole()
        samples.resume()
