"""Running a client (ssh, sftp, adb, sh) on this machine: its own process group, a limit, and nothing believed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgepack.runtime.devices.shell import printable
from edgepack.toolchain.errors import ToolchainFailedError, ToolchainMissingError

_LONGEST = 400  # characters of a client's words that still fit into a paragraph


@dataclass(frozen=True)
class Spoken:
    """What a client said before it ended.

    Attributes:
        code: Its exit code, negative for a signal, None when it was ended at the limit.
        stdout: Bytes.
        stderr: Bytes.
    """

    code: int | None
    stdout: bytes
    stderr: bytes

    @property
    def words(self) -> str:
        """The end of what it complained of, in one printable line."""
        text = printable((self.stderr or self.stdout).decode(errors="replace"))
        line = " | ".join(part.strip() for part in text.splitlines() if part.strip())
        return (line if len(line) <= _LONGEST else "... " + line[-_LONGEST:]) or "(it said nothing)"


def find(program: str, install: str) -> str:
    """Path of a client.

    Args:
        program: Its name.
        install: What installs it, as an imperative sentence.

    Raises:
        ToolchainMissingError: It is not there.
    """
    path = shutil.which(program)
    if path is None:
        raise ToolchainMissingError(f"The program {program} is not installed", todo=install)
    return path


def call(
    command: Sequence[str],
    *,
    given: bytes = b"",
    limit_s: float,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Spoken:
    """Run a client to its end, or end it and its children at the limit or on Ctrl-C.

    Args:
        command: Program and arguments; no shell.
        given: Its standard input.
        limit_s: Seconds.
        cwd: Its working folder.
        env: Its environment, this process's own unless given.

    Raises:
        ToolchainFailedError: It cannot be started.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - a list, never a shell line
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    except OSError as error:
        raise ToolchainFailedError(f"{command[0]} could not be started: {error}") from error
    try:
        stdout, stderr = process.communicate(given, timeout=limit_s)
    except subprocess.TimeoutExpired:
        stdout, stderr = _end(process)
        return Spoken(None, stdout, stderr)
    except BaseException:
        _end(process)
        raise
    return Spoken(process.returncode, stdout, stderr)


def _end(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()
