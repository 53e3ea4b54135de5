"""Running vendors' tools: always a subprocess, always with a limit, never trusted by its exit code.

The tool runs in a process group of its own that is ended as a whole, on the limit as on Ctrl-C, so
that no compiler stays behind. Callers check that the expected files exist; so does `expect`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepack.toolchain.errors import ToolchainFailedError, ToolchainStoppedError

_TAIL_LINES = 15

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""For processes of Python's own: nothing is imported from the folder that the user happens to be in, where a file
`numpy.py` would be run in numpy's place (from Python 3.11 on). A model's own folder is added by who opens the model."""


@dataclass(frozen=True)
class ToolRun:
    """Standard output and error of a tool that exited with 0 and wrote what was expected."""

    stdout: str
    stderr: str


def run_tool(
    name: str,
    command: Sequence[str | os.PathLike[str]],
    *,
    time_limit_s: float,
    cwd: Path,
    expect: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
) -> ToolRun:
    """Run a vendor's tool.

    Args:
        name: The tool's name for messages.
        command: Program and arguments; no shell.
        time_limit_s: Seconds after which the tool and its children are killed.
        cwd: Working folder.
        expect: Files that must exist and not be empty afterwards.
        env: Variables to add to this process's environment and `SAFE_PATH`.

    Raises:
        ToolchainFailedError: It crashed, or did not write its files.
        ToolchainStoppedError: It could not start, hung, or was killed.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - a list, never a shell line
            [os.fspath(word) for word in command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **SAFE_PATH, **(env or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise ToolchainStoppedError(
            f"{name} could not be started: {error}", todo="Check its installation with: edgepack doctor"
        ) from error
    try:
        stdout, stderr = process.communicate(timeout=time_limit_s)
    except subprocess.TimeoutExpired as error:
        _end(process)
        raise not_finished(name, time_limit_s) from error
    except BaseException:
        _end(process)
        raise
    check_ended(name, process.returncode, stderr or stdout, expect)
    return ToolRun(stdout, stderr)


def not_finished(name: str, time_limit_s: float) -> ToolchainStoppedError:
    """What to raise of a tool that was killed after so many seconds."""
    return ToolchainStoppedError(
        f"{name} did not finish within {time_limit_s:g} s and was stopped",
        todo="Give it more with --time-limit, or look at the model with --debug",
    )


def check_ended(name: str, code: int, words: str, expect: Sequence[Path]) -> None:
    """Raise unless a tool ended well and wrote its files.

    Args:
        name: The tool's name for messages.
        code: Its exit code, or the negative number of the signal that ended it.
        words: What it printed.
        expect: Files that must exist and not be empty.

    Raises:
        ToolchainFailedError: It crashed, or did not write its files.
        ToolchainStoppedError: It was killed.
    """
    if code != 0:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        # SIGKILL comes from outside: of memory that ran out, for one.
        kind = ToolchainStoppedError if code == -signal.SIGKILL else ToolchainFailedError
        raise kind(f"{name} failed with {how}. Its last words: {_tail(words)}")
    for path in expect:
        if not path.is_file() or path.stat().st_size == 0:
            raise ToolchainFailedError(
                f"{name} ended with exit code 0 and did not write {path.name}. Its last words: {_tail(words)}"
            )


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _tail(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-_TAIL_LINES:]) or "(it said nothing)"
