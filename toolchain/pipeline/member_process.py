"""One process that builds targets, seen from the run that started it: asked, listened to, weighed, ended.

Whatever it starts carries a token in its environment, by which all of it is found and ended, even what outlived the
process that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.subprocesses import SAFE_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

TOKEN = "EDGEPACK_BUILDS_FOR"  # noqa: S105 - the name of a variable
MODULE = "edgepack.toolchain.pipeline._member_worker"
_GRACE_S = 3.0
_TAIL = 400

Answers = queue.SimpleQueue[tuple["MemberProcess", "dict[str, Any] | None"]]


class MemberProcess:
    """A started worker.

    Args:
        setup: The run's facts (`_member_worker`).
        answers: Receives its messages, and None when it is gone.
        log: What it and its libraries print goes there.

    Raises:
        ToolchainFailedError: It cannot be started.
    """

    def __init__(self, setup: Mapping[str, Any], answers: Answers, log: Path) -> None:
        self.target: str | None = None
        self.lowering: str | None = None
        self.since = 0.0
        self.ended = False
        self._log = log
        self._token = secrets.token_hex(8)
        try:
            with log.open("wb") as file:
                self._process = subprocess.Popen(  # noqa: S603 - a list, never a shell line
                    [sys.executable, "-m", MODULE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    text=True,
                    encoding="utf-8",
                    env={**os.environ, **SAFE_PATH, TOKEN: self._token},
                    start_new_session=True,  # Ctrl-C is the parent's, which ends it in good order
                )
        except OSError as error:
            raise ToolchainFailedError(f"A process to build in could not be started: {error}") from error
        self._reader = threading.Thread(target=self._read, args=(answers,), daemon=True)
        self._reader.start()
        self._send(setup)

    def build(self, target: str, lowering: str, seconds: float | None, budget: float | None) -> None:
        """Ask for a target; events and the answer come by the queue."""
        self.target, self.lowering, self.since = target, lowering, time.monotonic()
        self._send({"target": target, "seconds": seconds, "budget": budget})

    def resident(self) -> int:
        """Bytes of memory that it and all it started hold; shared pages count in each."""
        found = 0
        for process in self._family():
            with contextlib.suppress(*_gone()):
                found += process.memory_info().rss
        return found

    def last_words(self) -> str:
        """How it ended, for a message."""
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        text = self._log.read_text(encoding="utf-8", errors="replace")[-_TAIL:]
        return f"{how}. Its last words: {' '.join(text.split()) or '(nothing)'}"

    @property
    def signal(self) -> int | None:
        """The signal that ended it, once it has ended by one."""
        code = self._process.poll()
        return -code if code is not None and code < 0 else None

    def end(self) -> None:
        """End it and everything that it started; an idle one leaves by itself."""
        self.ended = True
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        if self.target is not None:
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        self.sweep()

    def sweep(self) -> None:
        """Kill what is left of it, and let go of its pipes."""
        for process in self._family():
            with contextlib.suppress(*_gone()):
                process.kill()
        self._process.wait()
        self._reader.join(_GRACE_S)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError, ValueError):
                if stream is not None:
                    stream.close()

    def _family(self) -> Iterator[psutil.Process]:
        import psutil

        for process in psutil.process_iter():
            with contextlib.suppress(*_gone()):
                if process.environ().get(TOKEN) == self._token:
                    yield process

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError):  # it died; the queue says so
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def _read(self, answers: Answers) -> None:
        with contextlib.suppress(ValueError, OSError):  # closed, or half a line of one that was killed
            for line in self._process.stdout or ():
                answers.put((self, json.loads(line)))
        answers.put((self, None))


def _gone() -> tuple[type[BaseException], ...]:
    import psutil

    return (psutil.Error, OSError)
