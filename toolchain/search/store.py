"""Where a search keeps its trials: a journal that several processes write, and that any of them may die over.

Optuna's journal is a file of one line an operation. Two things are added to it here. Its lock is the system's, which is
released when its holder dies however it dies; and whoever gets it cuts off the half line that a dead writer may
have left, which would make the journal unreadable with the next line.

Who works on a trial is known by a locked file of its process (`workers/<name>.lock`). A running trial whose worker is
gone is put back first, under a mark of the trial it replaces, and then given up: whatever happens in
between, it is neither lost nor put back twice.
"""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.presence import file_lock, try_lock
from edgepack.toolchain.search.settings import JOURNAL_FILE

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

OWNER, REPLACES, LOST = "owner", "replaces", "lost"
STUDIES = ("uniform", "search", "random")


class _Lock:
    """The journal's lock, as Optuna wants it."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = file_lock(journal.with_suffix(".lock"))

    def acquire(self) -> bool:
        self._lock.acquire()
        _cut_half_line(self._journal)
        return True

    def release(self) -> None:
        self._lock.release()


def _cut_half_line(path: Path) -> None:
    """Remove what follows the last line break; called with the lock held, so that nobody is writing."""
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)


class Store:
    """One process's view of a search's trials.

    Args:
        folder: The search's folder.

    Attributes:
        studies: "uniform", "search" and "random".
    """

    def __init__(self, folder: Path) -> None:
        optuna = load_optuna()
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._folder = folder
        workers = folder / "workers"
        workers.mkdir(parents=True, exist_ok=True)
        self.owner = secrets.token_hex(6)
        self._presence = file_lock(workers / f"{self.owner}.lock")
        self._presence.acquire()
        self.lock = file_lock(folder / "ask.lock")
        journal = folder / JOURNAL_FILE
        journal.touch()
        with self.lock:
            own: Any = _Lock(journal)  # it has what Optuna calls
            storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=own))
            self.studies: dict[str, Study] = {
                name: optuna.create_study(
                    storage=storage, study_name=name, directions=["minimize"] * 3, load_if_exists=True
                )
                for name in STUDIES
            }

    def close(self) -> None:
        """Leave; what this process still works on is free for others."""
        self._presence.release()
        Path(self._presence.lock_file).unlink(missing_ok=True)

    def trials(self, study: str) -> list[FrozenTrial]:
        """All trials of a study, of all processes, in order."""
        found: list[FrozenTrial] = self.studies[study].get_trials(deepcopy=False)
        return found

    def reap(self) -> int:
        """Put back the running trials of processes that are gone; to be called with the lock held.

        Returns:
            How many there were.
        """
        from optuna.trial import TrialState

        count = 0
        for name, study in self.studies.items():
            trials = self.trials(name)
            back = {trial.user_attrs[REPLACES] for trial in trials if REPLACES in trial.user_attrs}
            for trial in trials:
                if trial.state is TrialState.RUNNING and not self._alive(trial):
                    # Of a trial that was put there by hand and not yet looked at, this holds the parameters.
                    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
                    if trial.number not in back and params:
                        kept = {k: v for k, v in trial.user_attrs.items() if k not in {OWNER, REPLACES}}
                        study.enqueue_trial(params, user_attrs={**kept, REPLACES: trial.number})
                    storage = study._storage  # noqa: SLF001 - Optuna gives no other way to mark another's trial
                    storage.set_trial_user_attr(trial._trial_id, LOST, True)  # noqa: FBT003, SLF001
                    study.tell(trial.number, state=TrialState.FAIL)
                    count += 1
        return count

    def _alive(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(OWNER)
        if owner is None:
            return False  # died while it asked, which the lock that the caller holds allows one at a time
        if owner == self.owner:
            return True
        path = self._folder / "workers" / f"{owner}.lock"
        if not path.exists():
            return False
        with try_lock(file_lock(path)) as free:
            return not free


def load_optuna() -> Any:
    """The package.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UsageError(
            "The search needs Optuna, which is not installed", todo='Run: pip install "edgepack[search]"'
        ) from error
    logging.getLogger("optuna").propagate = False
    return optuna
