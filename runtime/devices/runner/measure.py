"""Times of one part, or of the program's calls in a row, on given cores, in a process made for it.

A repetition is one call of a part, or all recorded calls of the program from a fresh state. Between two of
them, once in `every_s` seconds and never within one, the samples are written to a file and the device's
clocks and sensors are read; the repetition after that finds caches that this work left, and is not counted.
The file is a row of 64-bit floats, milliseconds, repetition by repetition; memory does not grow with it.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgepack.runtime._memory_child import high_water_bytes
from edgepack.runtime._timing_steps import Clock, timed_ms, warm_up, without_collector
from edgepack.runtime.devices.runner import parts, plans, readings
from edgepack.toolchain import files
from edgepack.toolchain.errors import DeviceError
from edgepack.toolchain.links import StatefulProgram

_WARM_UP_SHARE = 0.25  # of max_seconds, as on the host
_FEWEST = 1
Step = Callable[[], object]


def measure(request: Mapping[str, Any], clock: Clock = time.perf_counter_ns) -> dict[str, Any]:
    """Measure what `request["unit"]` names, on `request["plan"]`.

    Returns:
        load_ms, warm_up: As `timing` has them.
        memory: VmHWM in bytes after imports, loading, warm-up, and at the end.
        samples: File, SHA-256, and how many steps a repetition has.
        windows: Of every flush the seconds since the first, repetitions so far, and what the device said.
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
            windows = _sample(request, steps, reset, clock, root)
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
    request: Mapping[str, Any], steps: list[Step], reset: Step | None, clock: Clock, root: Path
) -> list[dict[str, Any]]:
    """Repeat until there are enough samples and seconds, or the limit is reached."""
    fewest, least_ns = max(_FEWEST, request["min_samples"]), request["min_seconds"] * 1e9
    every_ns, most_ns = request["every_s"] * 1e9, request["max_seconds"] * 1e9
    whole = _repetition(steps, reset)
    windows: list[dict[str, Any]] = []
    done = 0
    with Path(request["samples"]).open("wb") as file:
        buffer = array("d")
        began = flushed = clock()
        while True:
            if reset is not None:
                reset()
            for step in steps:
                buffer.append(timed_ms(step, clock))
            done += 1
            now = clock()
            over = (done >= fewest and now - began >= least_ns) or now - began >= most_ns
            if not over and now - flushed < every_ns:
                continue
            buffer.tofile(file)
            del buffer[:]
            windows.append({"s": (now - began) / 1e9, "done": done, **readings.reading(root)})
            if over:
                break
            _told(done, fewest, (now - began) / 1e9, request["min_seconds"])
            whole()
            flushed = clock()
    if not done:
        raise DeviceError("Nothing was measured")
    return windows


def _told(done: int, fewest: int, seconds: float, least: float) -> None:
    """A line for who watches; a full disk is for the samples to notice."""
    with Path("progress").open("a") as file:
        file.write(f"{done} of at least {fewest} samples, {seconds:.0f} of at least {least:g} s\n")
