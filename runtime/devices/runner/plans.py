"""On which cores a measurement runs.

as-is      wherever the system puts it, with the threads that were asked for
one-big    one core of the fastest kind, one thread
all-big    all cores but those of the slowest kind, a thread each
little     all cores of the slowest kind, a thread each
all        all cores, a thread each
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

AS_IS = "as-is"
SWEEP = ("one-big", "all-big", "little", "all")
NAMES = (AS_IS, *SWEEP)


def resolve(name: str, clusters: Sequence[dict[str, Any]], threads: int) -> dict[str, Any]:
    """A plan on this device.

    Args:
        name: One of NAMES.
        clusters: From `readings.clusters`, slowest first.
        threads: For `as-is`.

    Returns:
        {"plan", "cpus" (None for wherever), "threads"}, or {"plan", "skipped": why} where it makes no sense.
    """
    if name == AS_IS:
        return {"plan": name, "cpus": None, "threads": threads}
    if not clusters:
        return {"plan": name, "skipped": "the device does not say which cores it has"}
    if name in {"all-big", "little"} and len(clusters) == 1:
        return {"plan": name, "skipped": "all of its cores are of one kind"}
    cpus: list[int] = {
        "one-big": clusters[-1]["cpus"][-1:],
        "all-big": sorted(cpu for cluster in clusters[1:] for cpu in cluster["cpus"]),
        "little": clusters[0]["cpus"],
        "all": sorted(cpu for cluster in clusters for cpu in cluster["cpus"]),
    }[name]
    return {"plan": name, "cpus": cpus, "threads": len(cpus)}


def pin(cpus: Sequence[int]) -> str | None:
    """Bind this process, and the threads that it will have, to `cpus`; why not, where the system refuses."""
    if not hasattr(os, "sched_setaffinity"):
        return "this system binds no process to cores"
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        return f"the system refuses to bind to cores {_spelled(cpus)}: {error.strerror}"
    bound = os.sched_getaffinity(0)
    if bound != set(cpus):
        return f"the system bound to cores {_spelled(sorted(bound))} instead of {_spelled(cpus)}"
    return None


def _spelled(cpus: Sequence[int]) -> str:
    return ",".join(map(str, cpus))
