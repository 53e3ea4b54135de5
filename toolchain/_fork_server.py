"""A process that has loaded what its forks need, and runs modules in them, one after the other.

    python -m edgepack.toolchain._fork_server MODULE

It calls MODULE's `prepare`, writes a line with {"ready": true}, then reads requests, one line of JSON each: "module"
and "argument" (run as `python -m module argument`), "folder" (where it runs), and "log" (the file that receives what it
prints). Each is answered by two lines, {"pid": of the fork} and {"code": its exit code, negative for a signal}. A fork
leads a session of its own, so that it can be ended with all that it started.

It ends when nobody can ask any more, with the fork that works then; or when nobody has for `IDLE_S`. No thread may run
when it forks: of those, a fork has a copy of their locks and not of them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import sys
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

IDLE_S = 120.0
"""Seconds after which it gives its memory back."""
_TICK_S = 0.02
_CHUNK = 1 << 16
_SELDOM = (200_000, 50, 50)
"""When a fork looks for garbage: compilers make many objects and keep most, and looking was a seventh of the time."""


class _Asker:
    """The two pipes to who asks."""

    def __init__(self, requests: int, answers: int) -> None:
        self.requests, self.answers = requests, answers
        self._read = b""

    def next(self) -> dict[str, Any] | None:
        """The next request, or None when there will be none."""
        while b"\n" not in self._read:
            ready, _, _ = select.select([self.requests], [], [], IDLE_S)
            chunk = os.read(self.requests, _CHUNK) if ready else b""
            if not chunk:
                return None
            self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        request: dict[str, Any] = json.loads(line)
        return request

    def gone(self, seconds: float) -> bool:
        """Whether nobody is there any more; waits that long for it to show."""
        ready, _, _ = select.select([self.requests], [], [], seconds)
        return bool(ready) and not os.read(self.requests, _CHUNK)

    def tell(self, **what: object) -> None:
        """A line of an answer."""
        os.write(self.answers, json.dumps(what).encode() + b"\n")

    def close(self) -> None:
        """In a fork, which has nothing to say here."""
        os.close(self.requests)
        os.close(self.answers)


def serve(asker: _Asker) -> None:
    """Answer requests until there are no more."""
    while (request := asker.next()) is not None:
        pid = os.fork()
        if pid == 0:
            asker.close()
            _run(request)
        asker.tell(pid=pid)
        code = _ended(pid, asker)
        if code is None:
            return
        asker.tell(code=code)


def _ended(pid: int, asker: _Asker) -> int | None:
    """A fork's exit code, or None when it was ended because nobody waits for it."""
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if asker.gone(_TICK_S):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):  # before it led a session of its own
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None


def _run(request: Mapping[str, Any]) -> NoReturn:
    """What `python -m module argument` does, in this process, and no more than that."""
    code = 1
    try:
        os.setsid()
        os.chdir(request["folder"])
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(log, stream)
        sys.argv = [request["module"], request["argument"]]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:  # noqa: BLE001 - the last words of a process
        traceback.print_exc()
    finally:
        for written in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                written.flush()
        os._exit(code)


def main(module: str) -> None:
    """Prepare, and serve; what libraries print is for nobody, and nothing reads where requests come from."""
    asker = _Asker(os.dup(0), os.dup(1))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    importlib.import_module(module).prepare()
    gc.collect()
    gc.freeze()  # what is loaded stays: no fork needs to look through it again, and copy its pages for that
    gc.set_threshold(*_SELDOM)
    asker.tell(ready=True)
    with contextlib.suppress(BrokenPipeError):
        serve(asker)


if __name__ == "__main__":
    main(sys.argv[1])
