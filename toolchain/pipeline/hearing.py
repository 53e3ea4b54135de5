"""Events of other processes, told on as if they were of this one: each stage once, whoever came through it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.events import Log, identity
from edgepack.toolchain.results import StageRecord

if TYPE_CHECKING:
    from edgepack.toolchain.pipeline.member_process import MemberProcess


class Hearing:
    """Puts what processes tell into a log.

    Args:
        log: The run's.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._open: dict[tuple[MemberProcess, int], StageRecord] = {}

    def event(self, worker: MemberProcess, message: Mapping[str, Any]) -> None:
        """One message of a process."""
        if message["event"] == "warning":
            self._log.add_warning(message["text"])
            return
        key = (worker, message["stage"])
        told = StageRecord.model_validate(message["record"])
        if message["event"] == "begin":
            self._open[key] = told
            self._log.tell("begin", told)
            return
        record = self._open.pop(key)
        # Several processes come through the stages that they share; the one that did the work comes first.
        if message["event"] == "left" or identity(told) in self._log.told:
            self._log.tell("left", record)
            return
        for name in StageRecord.model_fields:
            setattr(record, name, getattr(told, name))
        self._log.stages.append(record)
        self._log.told.add(identity(record))
        self._log.tell("end", record)

    def end(self, worker: MemberProcess | None = None) -> None:
        """What a process (or any) had begun is left: it is gone."""
        for key in [key for key in self._open if worker is None or key[0] is worker]:
            self._log.tell("left", self._open.pop(key))
