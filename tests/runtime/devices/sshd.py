"""A real OpenSSH server on loopback: own keys, own port, this account, ended by its own process number."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import program_of


@dataclass
class Sshd:
    """A server that can be ended and started again.

    Attributes:
        folder: Its keys and configuration, and the client's.
        port: Of loopback.
        config: A client's configuration that knows its host key and has the account's key.
        command: The server's program, with what stands before its options.
    """

    folder: Path
    port: int
    config: Path
    command: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            *self.command,
            "-D",
            "-f",
            str(self.folder / "sshd_config"),
            "-E",
            str(self.folder / "log"),
        ]
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as talk:
                if talk.recv(4) == b"SSH-":
                    return
            time.sleep(0.05)
        pytest.fail(f"sshd does not answer: {(self.folder / 'log').read_text()}")

    def sessions(self) -> list[int]:
        """Processes of the server that carry a connection."""
        found: list[int] = []
        pending = [self.process.pid] if self.process else []
        while pending:
            parent = pending.pop()
            for entry in Path("/proc").glob("[0-9]*/stat"):
                with contextlib.suppress(OSError):
                    text = entry.read_text()
                    name, fields = (
                        text[text.index("(") + 1 : text.rindex(")")],
                        text.rpartition(")")[2].split(),
                    )
                    if int(fields[1]) == parent and name.startswith(("sshd", "qemu-aarch64")):
                        pending.append(int(entry.parent.name))
                        found.append(pending[-1])
        return found

    def cut(self) -> None:
        """Break every connection as a pulled cable would: no goodbye."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it with all its connections."""
        if self.process is not None:
            self.cut()
            self.process.kill()
            self.process.wait()
            self.process = None


def sshd() -> str:
    """sshd wants its absolute path, and the folder that its package's service makes."""
    path = program_of("openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return shutil.which(path) or path


@contextlib.contextmanager
def server(folder: Path, *command: str, more: str = "") -> Iterator[Sshd]:
    """A running server.

    Args:
        folder: For its keys and configurations.
        command: Its program, the system's own unless told.
        more: Lines for its configuration.
    """
    own = sshd()
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nPidFile {folder}/pid\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n"
        f"{more}"
    )
    config = write_config(folder, "user", "known_hosts")
    one = Sshd(folder, port, config, command or (own,))
    one.start()
    try:
        yield one
    finally:
        one.stop()


def write_config(folder: Path, key: str, known_hosts: str) -> Path:
    """A client's configuration; nothing of the account's own is read."""
    config = folder / f"config-{key}-{known_hosts}"
    config.write_text(
        f"IdentityFile {folder}/{key}\nIdentitiesOnly yes\nIdentityAgent none\n"
        f"UserKnownHostsFile {folder}/{known_hosts}\nGlobalKnownHostsFile /dev/null\n"
    )
    return config
