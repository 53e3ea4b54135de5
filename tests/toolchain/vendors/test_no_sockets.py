"""A process that opens no socket: its own code, its children's, and native code's."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in {"x86_64", "aarch64"},
    reason="the filter is Linux's, for x86-64 and 64-bit ARM",
)
FORBID = "from edgepack.toolchain.vendors.no_sockets import forbid_sockets\n"


def python(code: str, *program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program, sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_socket_is_refused() -> None:
    done = python(FORBID + "assert forbid_sockets()\nimport socket\nsocket.socket()")
    assert done.returncode == 1
    assert "PermissionError: [Errno 13]" in done.stderr


def test_an_attempt_can_end_the_process() -> None:
    calm = python(
        FORBID
        + "assert forbid_sockets(kill=True)\nprint(bool(open(__import__('sys').executable, 'rb').read(4)))"
    )
    assert (calm.returncode, calm.stdout) == (0, "True\n")
    native = "import ctypes\nctypes.CDLL(None).socket(2, 1, 0)"
    assert python(FORBID + f"forbid_sockets(kill=True)\n{native}").returncode == -signal.SIGSYS
    assert python(native).returncode == 0


def test_a_program_and_its_children_are_started_without() -> None:
    code = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import socket; socket.socket()'], check=True)"
    )
    assert python(code).returncode == 0
    done = python(code, sys.executable, "-m", "edgepack.toolchain.vendors.no_sockets")
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
