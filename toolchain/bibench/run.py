"""The table from beginning to end: cells that are not there yet, then timings, then what follows from both.

Cells and timings lie in a store in `--out`, each under a key of all that it depends on: appearing whole or not at all,
checked when they are read (`toolchain/cache.py`). So an interrupted run goes on where it stopped, and loses no more
than what it was doing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.bibench import results as r
from edgepack.toolchain.bibench import side_by_side, stored
from edgepack.toolchain.bibench.overall import overall
from edgepack.toolchain.bibench.settings import FULL, REDUCED, Budget
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.errors import SourceError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from edgepack.toolchain.bibench.cells.cell import Work

Listener = Callable[[int, int, str], object]
"""Told how many steps are done, of how many, and what is being done now."""

STORE, RESULTS_FILE, PAGE_FILE = "cells", "bibench.json", "bibench.html"
_TIMINGS_FILE = "timings.json"


def bibench(  # noqa: PLR0913 - options of one call, all by keyword
    out: str | Path,
    *,
    full: bool = False,
    methods: Collection[str] = (),
    tasks: Collection[str] = (),
    architectures: Collection[str] = (),
    steps: int | None = None,
    budget: Budget | None = None,
    jobs: int | None = None,
    command: str = "edgepack bibench",
    listener: Listener = lambda *_: None,
) -> r.BibenchResults:
    """Make the table; what lies in `out` already is not done again.

    Args:
        out: Folder of cells, results and page.
        full: A night's work of two cores instead of minutes.
        methods: Names in `quantize.binary.methods`; all when empty.
        tasks: Only these; all of the budget's when empty.
        architectures: The same.
        steps: Batches of a training, in place of the budget's.
        budget: In place of `REDUCED` or `FULL`.
        jobs: The most networks that are trained side by side, each on one thread in a process of its own; 1: in this
            process, one after the other. None: one a core, as far as the memory goes. Timings run alone.
        command: What the page shows as reproducing it.
        listener: Told of progress.

    Raises:
        UnknownNameError: A method, task or architecture that there is none of.
        UsageError: No cell is left, a number is not positive, or the folder cannot be written.
    """
    from edgepack.quantize.binary import methods as registry
    from edgepack.runtime import environment, kernels

    budget = budget or (FULL if full else REDUCED)
    budget = replace(budget, cells=_cells(budget, tasks, architectures))
    if steps is not None:
        if steps < 1:
            raise UsageError(
                "A training has at least one step", where="--steps", todo="Give a positive number"
            )
        budget = replace(budget, steps=steps)
    if jobs is not None and jobs < 1:
        raise UsageError("No network trains in no process", where="--jobs", todo="Give a positive number")
    names = sorted(methods) or registry.names()
    chosen = [r.Method(name=name, paper=registry.get(name, where="--method").paper) for name in names]
    folder = Path(out)
    captured = environment.capture(1, spinning=False)
    machine = f"{environment.fingerprint(captured)} {','.join(kernels.available())}"
    loads = [_load()]
    work = _plan(budget, names)
    total = len(work) + len(budget.cells)
    with Cache(folder / STORE, max_bytes=1 << 62) as store:
        cells, files = _train_all(work, machine, store, total, jobs, listener)
        timings, not_timed = _time_all(budget, files, machine, store, (len(work), total), listener)
    loads.append(_load())
    listener(total, total, "done")
    found = r.BibenchResults(
        command=command, full=full, methods=chosen,
        **_data(budget, cells),
        cells=cells, timings=timings, not_timed=not_timed,
        overall=[overall(name, cells, timings) for name in names],
        kernels=list(kernels.available()), no_kernels=kernels.why_not(),
        environment=captured,
        load_average=(loads[0], loads[1]) if loads[0] is not None and loads[1] is not None else None,
    )  # fmt: skip
    _write(found, folder)
    return found


def _write(found: r.BibenchResults, folder: Path) -> None:
    from edgepack.toolchain import files
    from edgepack.toolchain.bibench import page

    with files.storage_errors("The table cannot be written", folder, "Choose another folder with --out"):
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / RESULTS_FILE, found.model_dump_json(indent=1))
        (folder / PAGE_FILE).write_bytes(page.html(found))


def _cells(
    budget: Budget, tasks: Collection[str], architectures: Collection[str]
) -> tuple[tuple[str, str], ...]:
    from edgepack.toolchain.bibench.cells.networks import BODIES
    from edgepack.toolchain.bibench.cells.tasks import TASKS

    for kind, given, known in (("task", tasks, TASKS), ("architecture", architectures, BODIES)):
        for name in given:
            if name not in known:
                raise UnknownNameError(kind, name, known, where=f"--{kind}")
    kept = tuple(
        (task, architecture)
        for task, architecture in budget.cells
        if task in (tasks or TASKS) and architecture in (architectures or BODIES)
    )
    if not kept:
        raise UsageError(
            "None of the table's cells is of these tasks and architectures",
            todo="Choose among " + ", ".join(f"{t} with {a}" for t, a in budget.cells),
        )
    return kept


def _plan(budget: Budget, names: Sequence[str]) -> list[Work]:
    """fp32 first in every task and architecture; the first one again with other learning rates."""
    from edgepack.toolchain.bibench.cells.cell import Work

    own = {
        field: getattr(budget, field)
        for field in Work.__dataclass_fields__
        if field not in {"task", "architecture", "method", "rate_factor"}
    }
    plan = []
    for number, (task, architecture) in enumerate(budget.cells):
        factors = (1.0, *budget.rate_factors) if number == 0 else (1.0,)
        plan += [
            Work(task, architecture, name, factor, **own)
            for factor in factors
            for name in (r.BASELINE, *names)
        ]
    return plan


def _train_all(
    work: Sequence[Work], machine: str, store: Cache, total: int, jobs: int | None, listener: Listener
) -> tuple[list[r.Cell], dict[tuple[str, str], dict[str, Path]]]:
    """Every cell, and the exported files by task and architecture, then method."""
    from edgepack.toolchain.bibench.cells.artifact import FILE

    cells: list[r.Cell] = []
    files: dict[tuple[str, str], dict[str, Path]] = {}
    trained = side_by_side.train(work, machine, store, jobs, lambda done, text: listener(done, total, text))
    for number, one in enumerate(work):
        if trained is None:
            listener(number, total, stored.title(one))
        why = (trained or {}).get(number)
        cell, folder = (stored.no_cell(one, why), None) if why else stored.cell(one, machine, store)
        cells.append(cell)
        if folder is not None and cell.artifact is not None:
            files.setdefault(cell.at, {})[one.method] = folder / FILE
    return cells, files


def _time_all(
    budget: Budget,
    files: dict[tuple[str, str], dict[str, Path]],
    machine: str,
    store: Cache,
    steps: tuple[int, int],
    listener: Listener,
) -> tuple[list[r.Timing], list[r.NotTimed]]:
    from edgepack.toolchain.files import hash_file

    timings: list[r.Timing] = []
    not_timed: list[r.NotTimed] = []
    for number, (task, architecture) in enumerate(budget.cells):
        listener(steps[0] + number, steps[1], f"{task}, {architecture}: timing")
        given = files.get((task, architecture), {})
        if r.BASELINE not in given:
            reason = "the float network was not exported"
            not_timed.append(r.NotTimed(task=task, architecture=architecture, reason=reason))
            continue
        key: dict[str, Any] = {
            "what": "bibench timing", "machine": machine, "seconds": budget.timing_s, "kernels": _kernels(),
            "files": {name: hash_file(path).sha256 for name, path in given.items()},
            "input": [task, asdict(budget)["samples"], asdict(budget)["test_samples"]],
        }  # fmt: skip

        def build(
            into: Path, at: tuple[str, str] = (task, architecture), given: dict[str, Path] = given
        ) -> None:
            from edgepack.toolchain.bibench.hardware import measure

            rows = [timing.model_dump_json() for timing in measure(*at, given, budget)]
            (into / _TIMINGS_FILE).write_text("\n".join(rows), encoding="utf-8")

        try:
            folder, _ = store.stage(key, build)
            lines = (folder / _TIMINGS_FILE).read_text(encoding="utf-8").splitlines()
            timings += [r.Timing.model_validate_json(line) for line in lines]
        except SourceError as error:
            not_timed.append(r.NotTimed(task=task, architecture=architecture, reason=str(error)))
    return timings, not_timed


def _kernels() -> str | None:
    """Hash of the library of native kernels, if it is used."""
    from edgepack.runtime import kernels
    from edgepack.toolchain.files import hash_file

    return None if kernels.why_not() else hash_file(kernels.library_path()).sha256


def _data(budget: Budget, cells: Sequence[r.Cell]) -> dict[str, Any]:
    """What the tasks are, how many examples they have, and how often the most frequent class is right."""
    import numpy as np

    from edgepack.toolchain.bibench.cells.tasks import TASKS, load

    names = dict.fromkeys(task for task, _ in budget.cells)
    samples, chance = {}, {}
    for name in names:
        if any(cell.task == name and cell.accuracy is not None for cell in cells):
            _, labels, _, classes = load(name, budget.samples, budget.test_samples)
            samples[name] = (len(labels), len(classes))
            chance[name] = float(np.bincount(classes).max() / len(classes))
    return {"tasks": {name: TASKS[name].title for name in names}, "samples": samples, "chance": chance}


def _load() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


__all__ = ["PAGE_FILE", "RESULTS_FILE", "bibench"]
