"""What happens during a run, for whoever shows it: stages begin, and end with a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from edgepack.toolchain.results import StageRecord

Identity = tuple[str, str | None, str | None, str | None]


@dataclass(frozen=True)
class Event:
    """A stage began (`record` is being filled), ended (it is full) or was left unfinished, or a warning was given."""

    kind: Literal["begin", "end", "left", "warning"]
    text: str
    record: StageRecord | None = None


Listener = Callable[[Event], None]


@dataclass
class Log:
    """The stages and warnings of one run, told to a listener as they come.

    Attributes:
        listener: Whom to tell.
        stages: Records of finished stages, in the order of their ends.
        warnings: Sentences for the report.
        told: Stages that are in `stages` already, from another process or an earlier look: passing through them
            again, which takes their files from the cache, is no news.
    """

    listener: Listener | None = None
    stages: list[StageRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    told: set[Identity] = field(default_factory=set)

    @contextmanager
    def stage(
        self, name: str, *, target: str | None = None, part: str | None = None, precision: str | None = None
    ) -> Iterator[StageRecord]:
        """Time a stage; the body fills the record's `cached`, `changes`, `parity` and `detail`."""
        record = StageRecord(name=name, target=target, part=part, precision=precision, seconds=0.0)
        known = identity(record) in self.told
        if not known:
            self.tell("begin", record)
        begin = time.perf_counter()
        try:
            yield record
        except BaseException:
            if not known:
                self.tell("left", record)
            raise
        record.seconds = time.perf_counter() - begin
        if not known:
            self.stages.append(record)
            self.tell("end", record)

    @contextmanager
    def later(self) -> Iterator[None]:
        """Tell nothing within, and at the end what was finished; what was left was only looked for."""
        listener, self.listener = self.listener, None
        stages, warnings = len(self.stages), len(self.warnings)
        try:
            yield
        finally:
            self.listener = listener
            for record in self.stages[stages:]:
                self.told.add(identity(record))
                self.tell("begin", record)
                self.tell("end", record)
            for text in self.warnings[warnings:]:
                self._event(Event("warning", text))

    def add_warning(self, text: str) -> None:
        """A sentence that the report shows prominently; the same one is kept once."""
        if text not in self.warnings:
            self.warnings.append(text)
            self._event(Event("warning", text))

    def tell(self, kind: Literal["begin", "end", "left"], record: StageRecord) -> None:
        """Tell the listener of a stage; nothing is kept."""
        words = [record.name, record.target, record.precision]
        self._event(Event(kind, " ".join(word for word in words if word), record))

    def _event(self, event: Event) -> None:
        if self.listener:
            self.listener(event)


def identity(record: StageRecord) -> Identity:
    """What makes two records of one run those of the same stage."""
    return (record.name, record.target, record.part, record.precision)
