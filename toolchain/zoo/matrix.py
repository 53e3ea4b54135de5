"""Systems by targets, from real runs of the tiny configurations: a process a system, side by side as memory allows.

    for every system, for every target:
        the cell's file is there, under the key of this code, configuration and toolchain   -> it is read
        else                                                                                -> it is run, and written

A cell that fails, hangs or takes too much memory is a cell that says so; the others go on, in a new process. What is
finished is kept, so that a matrix which was interrupted goes on where it stood; a cell that was stopped is tried again
the next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edgepack.toolchain import child
from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.zoo.results import Cell, Matrix
from edgepack.toolchain.zoo.workers import Workers

if TYPE_CHECKING:
    from edgepack.exporters.architectures.base import Architecture

Listener = Callable[[int, int, str], object]
"""Told how many cells are done, of how many, and which are run now."""
Runner = Callable[[Mapping[str, Any], Path, child.Limits], "str | None"]
"""Makes one cell: (request, scratch folder, limits) -> why there is none."""

REPRESENTED = frozenset(
    {
        "npu:qnn-htp-v68", "npu:qnn-htp-v73", "npu:qnn-htp-v79", "npu:qnn-htp-v81",
        "npu:rk3566", "npu:rk3576", "npu:rv1106",
    }
)  # fmt: skip
"""Chips of which another one, with the same compiler, stands in the matrix unless they are asked for."""
SAMPLES = 16
_NEED = 3 << 30
"""Bytes that a cell is taken to need at most: torch's exporter, and a vendor's compiler after it."""
_FORMAT = 1


@dataclass(frozen=True)
class Wanted:
    """What is to be run.

    Attributes:
        out: Receives one file a cell.
        targets: Names; all installed ones, but `REPRESENTED`, when empty.
        systems: Names of architectures; all when empty.
        time_limit_s: Of one cell.
        jobs: The most cells side by side; None: one a core, as far as the memory goes.
        older: Whether a cell that was made under another key (by other code, versions or configurations) will do where
            there is none under this one; the newest is taken, and all such are counted.
    """

    out: Path
    targets: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    time_limit_s: float = 900.0
    jobs: int | None = None
    older: bool = False


def run(wanted: Wanted, listener: Listener, runner: Runner | None = None) -> Matrix:
    """All cells that were asked for.

    Raises:
        UnknownNameError: An unknown target or architecture.
        UsageError: A target is not installed, or a limit is not positive.
    """
    from edgepack.toolchain.pipeline import memory_bound

    targets = chosen_targets(wanted.targets)
    systems = chosen_systems(wanted.systems)
    if wanted.time_limit_s <= 0 or (wanted.jobs is not None and wanted.jobs < 1):
        raise UsageError("A time limit or a number of jobs is not positive", todo="Give a positive number")
    pairs = [(one, target) for one in systems for target in targets]
    workers = Workers()
    cells = _Cells(wanted, runner or workers)
    found = {index: cell for index, pair in enumerate(pairs) if (cell := cells.read(*pair)) is not None}
    older = {
        index: cell
        for index, pair in enumerate(pairs)
        if wanted.older and index not in found and (cell := cells.read_older(*pair)) is not None
    }
    found |= older
    todo = [index for index in range(len(pairs)) if index not in found]
    jobs, memory = memory_bound.side_by_side(wanted.jobs, _NEED)
    running: dict[Future[Cell], int] = {}

    def tell() -> None:
        names = ", ".join(f"{pairs[i][0].card.name} on {pairs[i][1]}" for i in running.values())
        listener(len(found), len(pairs), names or "done")

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            while todo or running:
                while todo and len(running) < jobs:
                    index = _next(todo, [pairs[i][0] for i in running.values()], pairs)
                    more = any(pairs[i][0] is pairs[index][0] for i in todo)
                    running[pool.submit(cells.make, *pairs[index], memory, more=more)] = index
                tell()
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    found[running.pop(done)] = done.result()
        except BaseException:
            cells.stop()
            raise
        finally:
            workers.close()
    tell()
    return Matrix(
        command=command(wanted),
        targets=list(targets),
        cells=[found[index] for index in range(len(pairs))],
        older=len(older),
    )


def _next(todo: list[int], busy: Sequence[Architecture], pairs: Sequence[tuple[Architecture, str]]) -> int:
    """Take a cell of a system that no other process is at, which would wait for the same export; else the first."""
    free = (place for place, index in enumerate(todo) if pairs[index][0] not in busy)
    return todo.pop(next(free, 0))


def chosen_targets(names: Sequence[str]) -> tuple[str, ...]:
    """The targets of a matrix, those that run on this machine first.

    Raises:
        UnknownNameError: There is none of a name.
        UsageError: One that was named is not installed, or none is.
    """
    from edgepack.toolchain.installed import list_targets

    known = {info.name: info for info in list_targets()}
    for name in names:
        if name not in known:
            raise UnknownNameError("target", name, known, where="--target")
        if not known[name].installed:
            raise UsageError(
                f"The toolchain of {name} is not installed",
                where="--target",
                todo=f"Run: {known[name].command}",
            )
    if names:
        return tuple(dict.fromkeys(names))
    found = [name for name, info in known.items() if info.installed and name not in REPRESENTED]
    order = {"cpu": 0, "mobile": 1, "npu": 2}
    return tuple(sorted(found, key=lambda name: (order[name.partition(":")[0]], name)))


def chosen_systems(names: Sequence[str]) -> tuple[Architecture, ...]:
    """The architectures of a matrix by their rows.

    Raises:
        UnknownNameError: There is none of a name.
    """
    from edgepack.exporters.architectures.base import architectures

    wanted = [name.removeprefix("zoo:").partition("/")[0] for name in names] or architectures.names()
    return tuple(
        sorted((architectures.get(name) for name in dict.fromkeys(wanted)), key=lambda one: one.card.order)
    )


class _Cells:
    """Cells on disk, and how one that is not there is made."""

    def __init__(self, wanted: Wanted, runner: Runner) -> None:
        self._wanted, self._runner = wanted, runner
        self._stop = threading.Event()

    def read(self, one: Architecture, target: str) -> Cell | None:
        """The cell, if it was made before; a damaged file counts as none."""
        try:
            return Cell.model_validate_json(self._path(one, target).read_text())
        except (OSError, ValidationError):
            return None

    def read_older(self, one: Architecture, target: str) -> Cell | None:
        """The newest cell under any key, if there is one."""
        own = self._path(one, target)
        pattern = f"{one.card.name}.{target.replace(':', '-')}.*.json"
        for path in sorted(own.parent.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True):
            with contextlib.suppress(OSError, ValidationError):
                return Cell.model_validate_json(path.read_text())
        return None

    def make(self, one: Architecture, target: str, memory: int, *, more: bool) -> Cell:
        """Run a cell, and write it unless it was stopped; `more` of its system wait or not."""
        begin = time.perf_counter()
        cell = self._run(one, target, memory, more=more)
        cell.seconds = round(time.perf_counter() - begin, 1)
        if cell.outcome != "stopped":
            path = self._path(one, target)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            temporary.write_text(cell.model_dump_json(indent=1))
            temporary.replace(path)
        return cell

    def stop(self) -> None:
        """End the cells that are being made."""
        self._stop.set()

    def _run(self, one: Architecture, target: str, memory: int, *, more: bool) -> Cell:
        with tempfile.TemporaryDirectory(prefix="edgepack-cell-", ignore_cleanup_errors=True) as folder:
            scratch = Path(folder)
            answer = scratch / "cell.json"
            request = {
                "name": one.card.name,
                "config": one.tiny,
                "target": target,
                "out": str(scratch / "bundle"),
                "samples": SAMPLES,
                "time_limit_s": self._wanted.time_limit_s,
                "answer": str(answer),
                "more": more,
            }
            limits = child.Limits(self._wanted.time_limit_s, memory, self._stop)
            why = self._runner(request, scratch, limits)
            if why is None:
                try:
                    return Cell.model_validate_json(answer.read_text())
                except (OSError, ValidationError) as error:
                    why = f"its process ended with 0 and gave no cell: {error}"
            return self._stopped_cell(one, target, why)

    @staticmethod
    def _stopped_cell(one: Architecture, target: str, why: str) -> Cell:
        return Cell(
            name=one.card.name,
            system=one.card.system,
            config=one.tiny,
            target=target,
            outcome="stopped",
            why=why,
        )

    def _path(self, one: Architecture, target: str) -> Path:
        digest = hashlib.sha256(json.dumps(self._key(one, target), sort_keys=True).encode()).hexdigest()[:12]
        return self._wanted.out / "cells" / f"{one.card.name}.{target.replace(':', '-')}.{digest}.json"

    def _key(self, one: Architecture, target: str) -> dict[str, Any]:
        """Everything that a cell depends on."""
        from edgepack.targets.base import targets
        from edgepack.toolchain.pipeline.workbench import target_versions

        config = one.configs[one.tiny]
        return {
            "format": _FORMAT,
            "name": one.card.name,
            "config": repr(
                asdict(config) if is_dataclass(config) and not isinstance(config, type) else config
            ),
            "target": target,
            "samples": SAMPLES,
            "versions": target_versions(targets.get(target)(), "torch", "onnx", "onnxruntime"),
        }


def command(wanted: Wanted) -> str:
    """What to type to get this matrix again."""
    words = ["edgepack zoo matrix"]
    words += ["--target", ",".join(wanted.targets)] if wanted.targets else []
    words += ["--system", ",".join(wanted.systems)] if wanted.systems else []
    words += ["--older"] if wanted.older else []
    return " ".join(words)
