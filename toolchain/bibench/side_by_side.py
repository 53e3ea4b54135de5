"""Networks trained side by side: processes that fill the table's store, which the run then goes through by itself.

Each trains on one thread, as without them, and each process goes on with the next network. A process that crashes
fails its own cell and nothing else; Ctrl-C ends all of them.
"""

from __future__ import annotations

import json
import math
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain import child
from edgepack.toolchain.bibench import stored
from edgepack.toolchain.cache import Cache

if TYPE_CHECKING:
    from edgepack.toolchain.bibench.cells.cell import Work

MODULE = "edgepack.toolchain.bibench._cell_worker"
_NEED = 3 << 30
"""Bytes that a process is taken to need at most: a transformer of 256 places learns in 2 GiB, with torch and data."""

Told = Callable[[int, str], object]
"""Told how many cells are there, and what is being trained."""


def train(
    work: Sequence[Work], machine: str, store: Cache, jobs: int | None, told: Told
) -> dict[int, str] | None:
    """Make the cells that are not in the store.

    Args:
        work: All cells of the table.
        machine: Fingerprint of the environment.
        store: Receives them.
        jobs: The most processes; None: one a core, as far as the memory goes.
        told: Of progress.

    Returns:
        Why there is no cell, by place in `work`, of those that failed. None: nothing was done, for there is no more
        than one cell to make, or room for no more than one process.
    """
    from edgepack.toolchain.pipeline.memory_bound import side_by_side

    count, memory = side_by_side(jobs, _NEED)
    if count < 2 or len(work) < 2:  # noqa: PLR2004 - two are what "side by side" takes
        return None
    todo = [place for place, one in enumerate(work) if stored.wanting(one, machine, store)]
    if len(todo) < 2:  # noqa: PLR2004 - as above
        return None
    with tempfile.TemporaryDirectory(prefix="edgepack-bibench-", ignore_cleanup_errors=True) as folder:
        return _Trainers(machine, store, memory, Path(folder)).run(work, todo, min(count, len(todo)), told)


class _Trainers:
    """The processes of one run.

    Args:
        machine: Fingerprint of the environment.
        store: Receives the cells.
        memory: Bytes that each process may take.
        scratch: Folder for requests, answers and what the processes print.
    """

    def __init__(self, machine: str, store: Cache, memory: int, scratch: Path) -> None:
        self._machine, self._store, self._scratch = machine, store, scratch
        self._limits = child.Limits(math.inf, memory)
        self._idle: list[child.Process] = []
        self._lock = threading.Lock()

    def run(self, work: Sequence[Work], todo: list[int], count: int, told: Told) -> dict[int, str]:
        """Make the cells of `todo`; why there is none, of those that failed."""
        lost: dict[int, str] = {}
        done, pending, running = len(work) - len(todo), list(todo), dict[Future[str | None], int]()
        with ThreadPoolExecutor(max_workers=count) as pool:
            try:
                while pending or running:
                    while pending and len(running) < count:
                        place = pending.pop(0)
                        running[pool.submit(self._ask, place, work[place])] = place
                    told(done, "; ".join(stored.title(work[place]) for place in running.values()))
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        place, done = running.pop(future), done + 1
                        if why := future.result():
                            lost[place] = why
            except BaseException:
                self._limits.stop.set()
                raise
            finally:
                for process in self._idle:
                    process.end()
        return lost

    def _ask(self, place: int, one: Work) -> str | None:
        """Why there is no cell."""
        request, answer = self._scratch / f"{place}.json", self._scratch / f"{place}.answer"
        asked = {
            "work": asdict(one), "machine": self._machine, "store": str(self._store.root),
            "max_bytes": self._store.max_bytes, "answer": str(answer),
        }  # fmt: skip
        request.write_text(json.dumps(asked), encoding="utf-8")
        with self._lock:
            process = self._idle.pop() if self._idle else None
        process = process or child.Process(["-m", MODULE], self._scratch / f"{place}.txt")
        why = process.ask(str(request), answer, self._limits)
        if why is not None:  # it has ended
            return why
        with self._lock:
            self._idle.append(process)
        said: str | None = json.loads(answer.read_text(encoding="utf-8"))
        return said
