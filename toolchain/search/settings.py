"""What a search was asked for, as it lies in its folder for every process that joins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.recipe import Recipe
from edgepack.toolchain.results import Result

SETTINGS_FILE = "settings.json"
JOURNAL_FILE = "journal.log"
Sampler = Literal["nsga2", "tpe"]
SAMPLERS: tuple[Sampler, ...] = ("nsga2", "tpe")


class Settings(Result):
    """Everything but the measurements.

    Attributes:
        recipe: Model, target, data, gate, threads, as export takes them.
        part: Which part of the program is searched.
        sampler: "nsga2" or "tpe".
        trials: Candidates measured on each side, search and random.
        seed: Of both samplers.
        timing_s: Seconds of one timing, at least.
        predict: Whether light predictors look at proposals first.
        choices: Sub-network choices that the architecture declares, largest first.
        run_id: Stands for a source whose content only running it would tell.
        identity: What must be the same whenever the search goes on: hashes and versions.
    """

    recipe: Recipe
    part: str | None = None
    sampler: Sampler = "nsga2"
    trials: int = Field(40, ge=1)
    seed: int = 0
    timing_s: float = Field(2.0, gt=0)
    predict: bool = True
    choices: dict[str, list[str]] = Field(default_factory=dict)
    run_id: str
    identity: dict[str, Any] = Field(default_factory=dict)


def write(folder: Path, settings: Settings) -> None:
    """Write the settings; they appear whole or not at all."""
    path = folder / SETTINGS_FILE
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(settings.model_dump_json(indent=1), encoding="utf-8")
    part.replace(path)


def read(folder: Path) -> Settings:
    """The settings of a search.

    Raises:
        UsageError: There is no search in the folder.
    """
    try:
        return Settings.model_validate_json((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise UsageError(
            f"There is no search that could go on: {type(error).__name__}",
            where=str(folder),
            todo="Leave out --resume to begin one",
        ) from error
