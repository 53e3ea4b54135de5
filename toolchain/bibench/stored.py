"""Cells in the store of a table: made where they are not there yet, with the reason where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.bibench import results as r
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.errors import EdgepackError

if TYPE_CHECKING:
    from edgepack.toolchain.bibench.cells.cell import Work

_FILE = "cell.json"


def title(one: Work) -> str:
    """A cell in the words of a progress bar."""
    again = "" if one.rate_factor == 1 else f", rate x {one.rate_factor:.2g}"
    return f"{one.task}, {one.architecture}, {one.method}{again}"


def cell(one: Work, machine: str, store: Cache) -> tuple[r.Cell, Path | None]:
    """A cell and its folder in the store; none for what the next run is to try again.

    Args:
        one: What the cell is made of.
        machine: Fingerprint of the environment.
        store: Receives the cell if it is not there.

    Raises:
        UsageError: The store cannot be written.
    """
    try:
        key = one.key(machine)
    except EdgepackError as error:  # the task's data are not there
        return no_cell(one, str(error)), None
    try:
        folder, _ = store.stage(key, lambda into: _make(one, into))
    except _FaultError as fault:
        return no_cell(one, str(fault)), None
    return r.Cell.model_validate_json((folder / _FILE).read_text(encoding="utf-8")), folder


def wanting(one: Work, machine: str, store: Cache) -> bool:
    """Whether a cell can be made and is not in the store."""

    def refuse(_: Path) -> None:
        raise _FaultError

    try:
        store.stage(one.key(machine), refuse)
    except _FaultError:
        return True
    except EdgepackError:  # the task's data are not there
        return False
    return False


def no_cell(one: Work, reason: str) -> r.Cell:
    """A cell without figures, and why."""
    return r.Cell(
        task=one.task, architecture=one.architecture, method=one.method, rate_factor=one.rate_factor, missing=reason
    )  # fmt: skip


class _FaultError(Exception):
    """Something that is nobody's refusal; it is shown, and tried again by the next run."""


def _make(one: Work, into: Path) -> None:
    """Write the cell, or the reason why there is none."""
    from edgepack.toolchain.bibench.cells.cell import make

    try:
        made = make(one, into)
    except EdgepackError as error:
        made = no_cell(one, str(error))
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise _FaultError(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    (into / _FILE).write_text(made.model_dump_json(indent=1), encoding="utf-8")
