"""How many processes may build side by side: what the machine's free memory holds.

A process that builds needs, for a program of w bytes of weights, about

    need(w) = BASE + FACTOR * w

and n of them are started only while n * need(w) is at most SHARE of what was free at the start. That is a guess; so
while they run, the free memory is watched, and below RESERVE the youngest is stopped and built alone later.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

BASE = 1 << 30
"""Bytes of interpreter, libraries and calibration data: 0.5 to 0.9 GiB for MiniLM, without its weights."""
FACTOR = 8
"""Copies of the weights: the program, float and quantized file, the sessions that judge both, a compiler's own."""
SHARE = 0.8
RESERVE = 512 << 20
"""Bytes that must stay free."""

_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Bound:
    """The memory of a run's processes.

    Attributes:
        free: Bytes that were free when it began.
        need: Bytes that one process is taken to need.
    """

    free: int
    need: int

    @property
    def processes(self) -> int:
        """How many fit; one always does, for one process is what a run is without this."""
        return max(1, int(self.free * SHARE) // self.need)


def bound_of(program: Path) -> Bound:
    """The bound for building a program.

    Args:
        program: Its folder.
    """
    weights = sum(path.stat().st_size for path in program.rglob("*") if path.is_file())
    return Bound(free_bytes(), BASE + FACTOR * weights)


def side_by_side(jobs: int | None, need: int) -> tuple[int, int]:
    """How many processes at once, and the bytes that each may take.

    Args:
        jobs: The most that are wanted; None: one a core.
        need: Bytes that one is taken to need.
    """
    from edgepack.runtime.environment import usable_cores

    free = int(free_bytes() * SHARE)
    count = max(1, min(jobs or usable_cores(), free // need))
    return count, free // count


def free_bytes(group: Path = _GROUP) -> int:
    """Bytes that processes can take without swapping, by the system and by a container's limit (cgroup v2).

    Files that a container has cached count as free: the kernel gives them up first.
    """
    import psutil

    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        free = min(free, max(0, limit - used + int(facts.get("inactive_file", 0))))
    return free
