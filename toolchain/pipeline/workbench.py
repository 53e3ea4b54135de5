"""What every stage of a run shares: the recipe, the cache, the log, and how a stage is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.environment import usable_cores
from edgepack.toolchain import files
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.events import Log
from edgepack.toolchain.pipeline.own_code import own_code
from edgepack.toolchain.recipe import Recipe
from edgepack.toolchain.results import StageRecord

if TYPE_CHECKING:
    from edgepack.targets.base import Target

RECORDS_FILE = "stages.json"
# Raise when the meaning of a stage's files changes, so that older entries are not taken for new ones.
FORMAT = 1


class NotKeptError(Exception):
    """A stage is not in the cache, and nothing may be built now."""


@dataclass
class Workbench:
    """One run's tools.

    Attributes:
        recipe: What was asked for.
        cache: Where stages are kept.
        log: Stages and warnings so far.
        run_id: Stands for a source whose content only running it would tell.
        on_stage: Called with a stage's name when it is finished (the journal).
        cores: Cores that judging may use, where its results do not depend on their number.
        only_kept: Build nothing: a stage that is not in the cache raises `NotKeptError`.
    """

    recipe: Recipe
    cache: Cache
    log: Log
    run_id: str
    on_stage: Callable[[str], object] = lambda _: None
    cores: int = field(default_factory=usable_cores)
    only_kept: bool = False
    _digests: dict[Path, str] = field(default_factory=dict)

    def keep(
        self,
        name: str,
        key: Mapping[str, Any],
        build: Callable[[Path, StageRecord], object],
        *,
        target: str | None = None,
        part: str | None = None,
        precision: str | None = None,
    ) -> Path:
        """Run a stage once for its key; its record is kept with its files and told again on a hit.

        Args:
            name: The stage's name for people.
            key: Everything that can change the result; versions are the caller's to add.
            build: Writes the stage's files into a folder, and fills the record.
            target: For the record.
            part: For the record.
            precision: For the record.

        Returns:
            The stage's folder, to be read only.
        """
        with self.log.stage(name, target=target, part=part, precision=precision) as record:

            def fill(folder: Path) -> None:
                if self.only_kept:
                    raise NotKeptError
                build(folder, record)
                (folder / RECORDS_FILE).write_text(record.model_dump_json())

            folder, record.cached = self.cache.stage({"stage": name, "format": FORMAT, **key}, fill)
            if record.cached:
                kept = StageRecord.model_validate_json((folder / RECORDS_FILE).read_text())
                record.changes, record.parity, record.detail = kept.changes, kept.parity, kept.detail
        self.on_stage(" ".join(word for word in (name, target, precision) if word))
        return folder

    def digest(self, folder: Path) -> str:
        """Hash over the content of a stage's files, its record left out: the key of what follows."""
        if folder not in self._digests:
            hashes = self.cache.hashes(folder)
            self._digests[folder] = files.digest(
                {n: h.sha256 for n, h in hashes.items() if n != RECORDS_FILE}
            )
        return self._digests[folder]


def versions(*distributions: str, of: Iterable[Target] = ()) -> dict[str, str]:
    """Installed versions and edgepack's own code; "" for what is not installed. Part of every key.

    Args:
        distributions: Names.
        of: The targets that take part: only their code counts, besides what is no single target's (`own_code`).
    """
    found = {"edgepack": own_code(*(type(target).__module__ for target in of))}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


def target_versions(target: Target, *distributions: str) -> dict[str, str]:
    """`versions` of what a target needs, wherever it is installed, and of other distributions."""
    found = {need.distribution: need.version or "" for need in target.requirements()}
    return versions(*distributions, of=[target]) | found


def read_json(path: Path) -> Any:
    """A stage's JSON file."""
    return json.loads(path.read_text())
