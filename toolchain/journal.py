"""The journal of a run, by which --resume knows what was asked for and how far it came.

`.<name>.run.json` lies beside the output folder while a run is under way: written when it starts,
lengthened after every stage, removed when the bundle is in place. What the stages made is in the
cache; the journal only says which run it was, so a lost or damaged one costs nothing but --resume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgepack.toolchain import files
from edgepack.toolchain.errors import BundleError

_FORMAT = 1
_ELSEWHERE = "Choose another folder with --out"


@dataclass(frozen=True)
class Journal:
    """A run that was started.

    Attributes:
        recipe: Everything it was asked for, as JSON values.
        stages: Names of its finished stages, in the order in which they finished.
    """

    recipe: dict[str, Any]
    stages: tuple[str, ...] = ()


def journal_path(out: Path) -> Path:
    """Where the journal of a run to `out` lies."""
    out = Path(out).resolve()
    return out.with_name(f".{out.name}.run.json")


def journal_start(out: Path, recipe: Mapping[str, Any]) -> Journal:
    """Begin a journal in place of an older one."""
    journal = Journal(dict(recipe))
    _write(out, journal)
    return journal


def journal_stage(out: Path, journal: Journal, stage: str) -> Journal:
    """Note that a stage is finished; one that is noted already is not noted twice."""
    if stage in journal.stages:
        return journal
    longer = replace(journal, stages=(*journal.stages, stage))
    _write(out, longer)
    return longer


def journal_read(out: Path) -> Journal | None:
    """The journal of a run to `out` that did not finish, or None.

    Raises:
        BundleError: There is one that cannot be understood.
    """
    path = journal_path(out)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        known = data["format"] == _FORMAT and isinstance(data["recipe"], dict)
        journal = Journal(data["recipe"], tuple(str(stage) for stage in data["stages"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise BundleError(
            "The journal of the interrupted run cannot be read",
            where=str(path),
            todo="Run the whole command again without --resume; finished work comes from the cache",
        )
    return journal


def journal_end(out: Path) -> None:
    """The bundle is in place; nothing is left to resume."""
    journal_path(out).unlink(missing_ok=True)


def _write(out: Path, journal: Journal) -> None:
    path = journal_path(out)
    with files.storage_errors("The journal of the run cannot be written", path, _ELSEWHERE):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps({"format": _FORMAT, **asdict(journal)}, indent=1) + "\n")
