"""One process for one cell: watched for its time and its memory, and ended with all that it started."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_TICK_S = 0.2
_MIB = 1 << 20
_TAIL = 300


@dataclass(frozen=True)
class Limits:
    """What ends a process.

    Attributes:
        seconds: After so long it is ended, with all that it started.
        memory_bytes: So much it and all it started may hold together; shared pages count in each.
        stop: When it is set.
    """

    seconds: float
    memory_bytes: int
    stop: threading.Event = field(default_factory=threading.Event)

    def reached(self, seconds: float, used: int) -> str | None:
        """Which one is, in words, after so many seconds and with so many bytes in use."""
        if self.stop.is_set():
            return "it was interrupted"
        if used > self.memory_bytes:
            room = self.memory_bytes / _MIB
            return f"it took {used / _MIB:,.0f} MiB of memory, and {room:,.0f} MiB were free for it"
        return f"it was not done after {self.seconds:g} s" if seconds > self.seconds else None


def run(command: Sequence[str], log: Path, limits: Limits) -> str | None:
    """Run a command of Python's to its end.

    Args:
        command: What follows the interpreter.
        log: Receives what it prints.
        limits: What ends it before.

    Returns:
        Why it gave nothing, in words; None when it ended with 0.
    """
    begin = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - a list, never a shell line
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    why = None
    try:
        while process.poll() is None and why is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_TICK_S)
            used = sum(_resident(member) for member in _family(process.pid))
            why = limits.reached(time.monotonic() - begin, used)
    finally:
        if process.poll() is None:
            _end(process)
    if why is None and process.returncode:
        code = process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        words = " ".join(log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].split())
        why = f"its process ended with {how}. Its last words: {words or '(nothing)'}"
    return why


def _family(pid: int) -> Iterator[psutil.Process]:
    import psutil

    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        yield parent
        yield from parent.children(recursive=True)


def _resident(process: psutil.Process) -> int:
    import psutil

    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """Children first are found, then all are killed: what outlives its parent is nobody's child."""
    import psutil

    for member in list(_family(process.pid)):
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.wait()
