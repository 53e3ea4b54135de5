"""A process that answers requests: one after the other, watched for time and memory, ended with all it started."""

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

from edgepack.toolchain.subprocesses import SAFE_PATH

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


class Process:
    """A started process, which reads a line for every answer that is wanted of it.

    Args:
        command: What follows the interpreter.
        log: Receives what it prints.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(  # noqa: S603 - a list, never a shell line
                [sys.executable, *command],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                env={**os.environ, **SAFE_PATH, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

    def ask(self, line: str, answer: Path, limits: Limits) -> str | None:
        """Hand in a line, and wait for the file that answers it.

        Args:
            line: What is written to its standard input.
            answer: The file that is there, whole, when it is done.
            limits: What ends it before.

        Returns:
            Why there is no answer, in words; the process has ended then, with all that it started.
        """
        begin = time.monotonic()
        why = None
        try:
            self._tell(line)
            while why is None and not answer.is_file():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_TICK_S)
                    why = None if answer.is_file() else self._last_words()
                    break
                why = limits.reached(time.monotonic() - begin, self.resident())
        except BaseException:
            self.end()
            raise
        if why is not None:
            self.end()
        return why

    def resident(self) -> int:
        """Bytes of memory that it and all it started hold; shared pages count in each."""
        return sum(_resident(member) for member in _family(self._process.pid))

    def end(self) -> None:
        """End it and all that it started; children first are found: what outlives its parent is nobody's child."""
        import psutil

        if self._process.poll() is None:
            for member in list(_family(self._process.pid)):
                with contextlib.suppress(psutil.Error):
                    member.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # it died; waiting for it says how
            if self._process.stdin is not None:
                self._process.stdin.write(f"{line}\n".encode())
                self._process.stdin.flush()

    def _last_words(self) -> str:
        code = self._process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        words = " ".join(self._log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].split())
        return f"its process ended with {how}. Its last words: {words or '(nothing)'}"


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
