"""A Ray cluster of this machine alone: on loopback, without dashboard and statistics, gone afterwards with its files.

Ray's ports are named one by one: where they are not, Ray waits 15 s for its helpers to choose some and gives up,
which a busy machine does not reach. Its sessions lie in a folder of ours, and its tokens, without which nobody else
on this machine can use the cluster, only in the environment.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from edgepack.toolchain.errors import ToolchainFailedError

_HOST = "127.0.0.1"
_START_S, _END_S = 180.0, 20.0
_STARTED = "Ray runtime started"
_OBJECTS_BYTES = 200_000_000
"""Bundles lie on this machine already, and what a task returns is small."""
_PORTS = (
    "port",
    "node-manager-port",
    "object-manager-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)
# Runs a command for as long as its standard input is open, that is for as long as this process lives, however it ends.
_GUARD = """exec 3<&0
"$@" 3<&- </dev/null &
ray=$!
(cat <&3 >/dev/null; kill "$ray") 2>/dev/null &
wait "$ray"
"""
# Ray reads it once in a process.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise Ray takes loopback's address for the one in the network (its default on macOS and Windows).
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


@contextlib.contextmanager
def started(processors: int) -> Iterator[str]:
    """A running cluster; yields its address.

    Args:
        processors: How many it may use.

    Raises:
        ToolchainFailedError: Ray does not start.
    """
    with (
        _environment(),
        tempfile.TemporaryDirectory(prefix="edgepack-ray-", ignore_cleanup_errors=True) as name,
    ):
        ports = _free(len(_PORTS))
        options = [f"--{option}={port}" for option, port in zip(_PORTS, ports, strict=True)]
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
            "--include-dashboard=false", "--include-log-monitor=false", f"--node-ip-address={_HOST}",
            f"--num-cpus={processors}", f"--object-store-memory={_OBJECTS_BYTES}", f"--temp-dir={name}", *options,
        ]  # fmt: skip
        log = Path(name) / "start.log"
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 - Ray's own command
                ["/bin/sh", "-c", _GUARD, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait(process, log)
            yield f"{_HOST}:{ports[0]}"
        finally:
            assert process.stdin is not None  # noqa: S101 - it is a pipe
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            # Whatever of it is left.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it says that it runs."""
    pause, waited = threading.Event(), 0.0
    while waited < _START_S:
        said = log.read_text(errors="replace")
        if _STARTED in said:
            return
        if process.poll() is not None:
            break
        pause.wait(0.2)
        waited += 0.2
    last = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    raise ToolchainFailedError(
        f"Ray does not start on this machine: {' | '.join(last[-3:]) or 'it says nothing'}",
        todo="Try again when less runs here, or leave --executor out",
    )


def _free(count: int) -> list[int]:
    """Ports of loopback that nobody uses, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((_HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """For this process, which joins the cluster, and for those that it starts."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
