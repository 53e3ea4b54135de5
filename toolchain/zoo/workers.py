"""Processes that are kept between the cells of one system.

A cell spends seconds on starting Python and loading its libraries, and its program is the same on every target. So the
next cell of a system goes to the process that made the one before. A process that ended, or was ended, took one cell
with it; the next has a new one.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain import child

MODULE = "edgepack.toolchain.zoo._cell_worker"
_KEPT = 0.5
"""Share of a cell's memory above which a process is not kept: what it holds counts in the next cell as well."""


class Workers:
    """Makes cells: called with (request, scratch folder, limits), gives why there is none.

    Call `close` when no more cells are wanted.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgepack-cells-", ignore_cleanup_errors=True)
        self._lock = threading.Lock()
        self._idle: defaultdict[str, list[child.Process]] = defaultdict(list)
        self._started = 0

    def __call__(self, request: Mapping[str, Any], scratch: Path, limits: child.Limits) -> str | None:
        """One cell of the system "name"; its process is kept while the request says that "more" of it wait."""
        file = scratch / "request.json"
        file.write_text(json.dumps(dict(request)))
        name = str(request["name"])
        process = self._take(name)
        why = process.ask(str(file), Path(request["answer"]), limits)
        if why is not None:
            return why
        with self._lock:
            done = [] if request["more"] else self._idle.pop(name, [])
            if request["more"] and process.resident() < _KEPT * limits.memory_bytes:
                self._idle[name].append(process)
            else:
                done.append(process)
        for one in done:
            one.end()
        return None

    def close(self) -> None:
        """End what is still waiting."""
        with self._lock:
            left = [process for waiting in self._idle.values() for process in waiting]
            self._idle.clear()
        for process in left:
            process.end()
        self._folder.cleanup()

    def _take(self, name: str) -> child.Process:
        with self._lock:
            if self._idle[name]:
                return self._idle[name].pop()
            self._started += 1
            log = Path(self._folder.name) / f"{self._started}.txt"
        return child.Process(["-m", MODULE], log)
