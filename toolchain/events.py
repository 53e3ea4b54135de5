"""What happens during a run, for whoever shows it: stages begin, and end with a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from edgepack.toolchain.results import StageRecord


@dataclass(frozen=True)
class Event:
    """A stage began (`record` is being filled) or ended (it is full), or a warning was given."""

    kind: Literal["begin", "end", "warning"]
    text: str
    record: StageRecord | None = None


Listener = Callable[[Event], None]


@dataclass
class Log:
    """The stages and warnings of one run, told to a listener as they come."""

    listener: Listener | None = None
    stages: list[StageRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def stage(
        self, name: str, *, target: str | None = None, part: str | None = None, precision: str | None = None
    ) -> Iterator[StageRecord]:
        """Time a stage; the body fills the record's `cached`, `changes`, `parity` and `detail`."""
        record = StageRecord(name=name, target=target, part=part, precision=precision, seconds=0.0)
        words = [name, target, precision]
        text = " ".join(word for word in words if word)
        self._tell(Event("begin", text, record))
        begin = time.perf_counter()
        yield record
        record.seconds = time.perf_counter() - begin
        self.stages.append(record)
        self._tell(Event("end", text, record))

    def add_warning(self, text: str) -> None:
        """A sentence that the report shows prominently; the same one is kept once."""
        if text not in self.warnings:
            self.warnings.append(text)
            self._tell(Event("warning", text))

    def _tell(self, event: Event) -> None:
        if self.listener:
            self.listener(event)
