"""Running workers whose libraries take longer to load than their work takes: forks of a process that has them loaded.

A worker must be a process of its own: it runs a model's code, or a compiler that may crash. It need not begin at
nothing each time. `_fork_server` imports once, and forks for every worker; what one worker does, the next does not see.
Where there is no fork that can be relied on (outside Linux), and where the preparation fails, a worker is started as
ever.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from edgepack.toolchain.subprocesses import SAFE_PATH, check_ended, not_finished, run_tool

SERVER = "edgepack.toolchain._fork_server"
_CHUNK = 1 << 16


class _GoneError(Exception):
    """The server ended."""


def _readable(stream: IO[bytes], seconds: float) -> bool:
    """Whether there is something to read, waiting so long for it; `select` has no descriptors from 1024 on."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, seconds)))


class _Server:
    """A started server; its pipes, and what it was started with."""

    def __init__(self, module: str, environment: dict[str, str]) -> None:
        self.environment = environment
        self._read = b""
        self._fork: int | None = None
        self._process = subprocess.Popen(  # noqa: S603 - a list, never a shell line
            [sys.executable, "-m", SERVER, module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.sep,  # Python 3.10 imports from where it is started, whatever SAFE_PATH says
            env={**environment, **SAFE_PATH},
            start_new_session=True,
        )

    def line(self, until: float) -> dict[str, Any]:
        """What it says next.

        Raises:
            _GoneError: It ended.
            TimeoutError: It says nothing until then (`time.monotonic`).
        """
        assert self._process.stdout is not None  # noqa: S101
        while b"\n" not in self._read:
            if not _readable(self._process.stdout, until - time.monotonic()):
                raise TimeoutError
            chunk = os.read(self._process.stdout.fileno(), _CHUNK)
            if not chunk:
                raise _GoneError
            self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, request: dict[str, str], until: float) -> int:
        """The exit code of a worker; errors as of `line`."""
        assert self._process.stdin is not None  # noqa: S101
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:  # it waited long enough for somebody to ask
            raise _GoneError from error
        self._fork = int(self.line(until)["pid"])
        code = int(self.line(until)["code"])
        self._fork = None
        return code

    def end(self) -> None:
        """End it, and the fork that works, with all that it started."""
        for pid in (self._fork, self._process.pid):
            if pid is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class Forked:
    """Workers that share what they import.

    One server waits between two workers, for as long as its `IDLE_S`; while it works, another asker gets another.

    Args:
        module: Its `prepare()` imports what the workers need, and leaves no thread running.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self._lock = threading.Lock()
        self._idle: _Server | None = None
        self._begun = False

    def run(
        self,
        name: str,
        worker: str,
        argument: str,
        *,
        time_limit_s: float,
        cwd: Path,
        expect: Sequence[Path] = (),
    ) -> None:
        """As `run_tool` of `python -m worker argument`, with its errors.

        Args:
            name: The tool's name for messages.
            worker: Module name.
            argument: Its only one.
            time_limit_s: Seconds after which it and its children are killed.
            cwd: Working folder.
            expect: Files that must exist and not be empty afterwards.

        Raises:
            ToolchainFailedError: It crashed, or did not write its files.
            ToolchainStoppedError: It could not start, hung, or was killed.
        """
        if sys.platform != "linux":
            command = [sys.executable, "-m", worker, argument]
            run_tool(name, command, time_limit_s=time_limit_s, cwd=cwd, expect=expect)
            return
        until = time.monotonic() + time_limit_s
        with tempfile.TemporaryDirectory(prefix="edgepack-forked-") as folder:
            log = Path(folder) / "log.txt"
            request = {"module": worker, "argument": argument, "folder": str(cwd), "log": str(log)}
            try:
                code = self._ask(request, until)
            except TimeoutError as error:
                raise not_finished(name, time_limit_s) from error
            except (
                OSError,
                _GoneError,
            ):  # whatever stands in the way of the preparation, the worker says it better
                command = [sys.executable, "-m", worker, argument]
                run_tool(
                    name, command, time_limit_s=max(1.0, until - time.monotonic()), cwd=cwd, expect=expect
                )
                return
            check_ended(name, code, log.read_text(errors="replace") if log.is_file() else "", expect)

    def close(self) -> None:
        """End the server that waits, if one does."""
        with self._lock:
            server, self._idle = self._idle, None
        if server is not None:
            server.end()

    def _ask(self, request: dict[str, str], until: float) -> int:
        """The worker's exit code; from a waiting server, or where that has ended meanwhile from a new one."""
        environment = dict(os.environ)
        with self._lock:
            server, self._idle = self._idle, None
        if server is not None and server.environment == environment:
            with contextlib.suppress(_GoneError):
                return self._through(server, request, until)
        elif server is not None:
            server.end()
        if not self._begun:
            self._begun = True
            atexit.register(self.close)
        server = _Server(self.module, environment)
        try:
            server.line(until)
        except BaseException:
            server.end()
            raise
        return self._through(server, request, until)

    def _through(self, server: _Server, request: dict[str, str], until: float) -> int:
        try:
            code = server.run(request, until)
        except BaseException:
            server.end()
            raise
        with self._lock:
            other, self._idle = self._idle, server
        if other is not None:
            other.end()
        return code
