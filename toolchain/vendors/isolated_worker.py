"""Talking with a worker in an isolated environment: one question, or a conversation; through files, with limits.

A worker is a script that stands alone. It is started as `interpreter -I script WHAT request.json` and redirects what
its libraries print into the file `request["log"]`. "compile" answers once, with a JSON object in `request["answer"]`;
"run" with a JSON line for being ready and one for every line that it is sent. An answer has "ok", and "error" in
words where that is false.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepack.toolchain.environments import IsolatedEnvironment
from edgepack.toolchain.errors import ToolchainFailedError, ToolchainStoppedError
from edgepack.toolchain.results import Tool
from edgepack.toolchain.subprocesses import run_tool

_TAIL = 400
_PREFIX = "edgepack-worker-"


@dataclass(frozen=True)
class Worker:
    """A script and where it runs.

    Attributes:
        distribution: The toolchain, for messages.
        environment: What it lives in.
        setup: The command that makes the environment.
        script: The file.
    """

    distribution: str
    environment: IsolatedEnvironment
    setup: str
    script: Path

    def command(self, what: str, request: Path) -> list[str]:
        """What starts it: alone with its environment, whatever PYTHONPATH says."""
        return [str(self.environment.interpreter), "-I", str(self.script), what, str(request)]

    def once(self, request: Mapping[str, Any], scratch: Path, time_limit_s: float) -> dict[str, Any]:
        """The answer to one "compile" request, and what was logged under "log".

        Args:
            request: As the script takes it.
            scratch: Folder for request, answer and log, and the worker's working folder.
            time_limit_s: Limit, in seconds.

        Raises:
            ToolchainFailedError: The worker crashed, hung, or answered with what is no answer.
        """
        file, answer, log = (scratch / name for name in ("request.json", "answer.json", "log.txt"))
        answer.unlink(missing_ok=True)
        file.write_text(json.dumps({**request, "answer": str(answer), "log": str(log)}), encoding="utf-8")
        command = self.command("compile", file)
        try:
            with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as temporary:
                run_tool(
                    self.distribution,
                    command,
                    time_limit_s=time_limit_s,
                    cwd=scratch,
                    expect=[answer],
                    env=_temporary_files(temporary),
                )
        except ToolchainFailedError as error:
            last = " ".join(_text(log)[-_TAIL:].split())
            raise type(error)(
                f"{error.what}. Its log ends with: {last}" if last else error.what, todo=error.todo
            ) from error
        text = answer.read_text(encoding="utf-8", errors="replace")
        return {**self.checked(text), "log": _text(log)}

    def checked(self, text: str) -> dict[str, Any]:
        """An answer, if it is one.

        Raises:
            ToolchainFailedError: It is not.
        """
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise self.garbled(text) from error
        sound = isinstance(answer, dict) and isinstance(answer.get("ok"), bool)
        if not sound or not (isinstance(answer.get("error"), str) or answer["ok"]):
            raise self.garbled(text)
        return dict(answer)

    def tool(self) -> Tool:
        """Name, and the version that the environment was made with."""
        return Tool(name=self.distribution, version=self.environment.version(self.distribution) or "unknown")

    def check_version(self, answer: Mapping[str, Any]) -> None:
        """What ran must be what the environment was made with: somebody may have installed another version into it.

        Raises:
            ToolchainFailedError: The answer's "versions" name another one, or none.
        """
        versions, made = answer.get("versions"), self.tool().version
        found = versions.get(self.distribution) if isinstance(versions, Mapping) else None
        if found != made:
            raise ToolchainStoppedError(
                f"{self.distribution} {found or 'of an unknown version'} ran, and the environment was made with {made}",
                where=str(self.environment.folder),
                todo=f"Make it again: {self.setup} --remove && {self.setup}",
            )

    def garbled(self, text: str) -> ToolchainFailedError:
        """The error for an answer that cannot be read."""
        return ToolchainFailedError(
            f"{self.distribution} answered with what is no answer: {text[:80]!r}",
            todo=f"Make its environment again: {self.setup} --remove && {self.setup}",
        )


class Conversation:
    """A worker that holds one model and answers calls.

    Args:
        worker: Which.
        request: As its "run" takes it.
        open_limit_s: Limit of loading, in seconds.
        call_limit_s: Limit of one call, in seconds.

    Raises:
        ToolchainFailedError: It could not start, hung, or did not load the model.
    """

    def __init__(
        self, worker: Worker, request: Mapping[str, Any], *, open_limit_s: float, call_limit_s: float
    ) -> None:
        self._worker = worker
        self._limit = call_limit_s
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)
        scratch = Path(self._folder.name)
        self._log = scratch / "log.txt"
        file = scratch / "request.json"
        file.write_text(json.dumps({**request, "log": str(self._log)}), encoding="utf-8")
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a list, never a shell line
                worker.command("run", file),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
                cwd=scratch,
                env={**os.environ, **_temporary_files(self._folder.name)},
            )
            threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
            self.opened = self._answer(open_limit_s)
        except OSError as error:
            self.close()
            raise ToolchainFailedError(
                f"{worker.distribution} could not be started: {error}", todo=f"Run: {worker.setup}"
            ) from error
        except BaseException:
            self.close()
            raise

    def call(self, arrays: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        """The answer to one call, and the arrays that it wrote, in the worker's order.

        Raises:
            ToolchainFailedError: The worker failed, crashed or hung, or its arrays cannot be read.
        """
        import numpy as np

        if self._process is None or self._process.stdin is None:
            raise ToolchainFailedError(f"{self._worker.distribution} is closed")
        inputs, outputs = (Path(self._folder.name) / name for name in ("inputs.npz", "outputs.npz"))
        outputs.unlink(missing_ok=True)
        np.savez(inputs, *arrays.values())
        request = {"inputs": str(inputs), "outputs": str(outputs), "names": list(arrays)}
        with contextlib.suppress(BrokenPipeError):  # it died; the missing answer says so
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        answer = self._answer(self._limit)
        try:
            with np.load(outputs, allow_pickle=False) as made:
                return answer, [made[f"arr_{index}"] for index in range(len(made.files))]
        except (OSError, ValueError, KeyError) as error:
            raise ToolchainFailedError(
                f"{self._worker.distribution} gave no arrays that can be read: {error}"
            ) from error

    @property
    def group(self) -> int | None:
        """Process group of the worker and what it started; None once it was ended."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the worker, and what it started."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        self._folder.cleanup()

    def _read(self, process: subprocess.Popen[str]) -> None:
        with contextlib.suppress(ValueError, OSError):  # closed under our hands
            for line in process.stdout or ():
                self._lines.put(line)
        self._lines.put("")

    def _answer(self, limit: float) -> dict[str, Any]:
        name = self._worker.distribution
        try:
            line = self._lines.get(timeout=limit)
        except queue.Empty:
            raise ToolchainFailedError(f"{name} did not answer within {limit:g} s and was stopped") from None
        if not line:
            last = " ".join(_text(self._log)[-_TAIL:].split())
            raise ToolchainFailedError(f"{name} died. Its log ends with: {last or '(nothing)'}")
        answer = self._worker.checked(line)
        if not answer["ok"]:
            raise ToolchainFailedError(f"{name} failed: {answer['error']}")
        return answer


def _temporary_files(folder: str) -> dict[str, str]:
    """Where a worker's temporary files go: rknn-toolkit2 leaves whole models behind, nncase one small file a tensor."""
    return dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
