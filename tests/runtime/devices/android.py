"""Android's own debug daemon and client, alone with each other in a network of their own.

adbd listens on port 5555 of every address there is, and a client's server belongs to whoever started it: so
both run in a network namespace that only the test enters, and a wrapper named `adb`, first in PATH, brings
edgepack's calls into it. Nothing else on the machine sees any of them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import program_of

PORT, SERVER_PORT = 5555, 6137
# Brings the loopback interface up (SIOCSIFFLAGS, IFF_UP | IFF_RUNNING; see netdevice(7)), and stays.
_HOLD = """
import fcntl, signal, socket, struct
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack("16sH22x", b"lo", 0x41))
print("up", flush=True)
signal.pause()
"""
# A device that asks for a key and accepts none: ADB's protocol, packets of six 32-bit words and a payload.
_REFUSE = """
import socket, struct, sys
CNXN, AUTH = 0x4e584e43, 0x48545541
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
while True:
    talk, _ = listener.accept()
    with talk, talk.makefile("rb") as words:
        while header := words.read(24):
            command, kind, _, length, _, _ = struct.unpack("<6I", header)
            words.read(length)
            if command == CNXN or (command == AUTH and kind == 2):  # 2: a signature; 3, a public key, waits
                token = bytes(20)
                talk.sendall(struct.pack("<6I", AUTH, 1, 0, len(token), sum(token), AUTH ^ 0xFFFFFFFF) + token)
"""


@dataclass
class Android:
    """A network with one device.

    Attributes:
        folder: The client's home, and the wrapper's.
        holder: Process whose network it is.
        daemon: adbd, while it runs.
    """

    folder: Path
    holder: subprocess.Popen[str]
    daemon: subprocess.Popen[bytes] | None = None
    others: list[subprocess.Popen[str]] = field(default_factory=list)
    address = f"adb://127.0.0.1:{PORT}"

    def inside(self, *words: str) -> list[str]:
        """The command in this network."""
        return ["nsenter", "-t", str(self.holder.pid), "-n", *words]

    def adb(self, *words: str) -> str:
        """What the client says."""
        command = [str(self.folder / "bin" / "adb"), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    def start(self) -> None:
        with (self.folder / "adbd.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                self.inside(program_of("adbd")), stdout=log, stderr=log, start_new_session=True
            )
        check = f"import socket; socket.create_connection(('127.0.0.1', {PORT}), 1)"
        deadline = time.monotonic() + 20
        while subprocess.run(
            self.inside(sys.executable, "-Ic", check), capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < deadline, (self.folder / "adbd.log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """End the daemon as a crash would; what it started goes on."""
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None

    def refuser(self, port: int) -> str:
        """Address of a device that accepts nobody's key."""
        process = subprocess.Popen(
            self.inside(sys.executable, "-Ic", _REFUSE, str(port)), stdout=subprocess.PIPE, text=True
        )
        self.others.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return f"adb://127.0.0.1:{port}"


@contextlib.contextmanager
def network(folder: Path) -> Iterator[Android]:
    """A network with a running device; `folder`/bin goes first into PATH."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux may make a network")
    adb, _ = program_of("adb"), program_of("adbd")
    holder = subprocess.Popen(
        ["unshare", "-n", sys.executable, "-Ic", _HOLD],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    if holder.stdout.readline() != "up\n":  # a container may keep root from it
        pytest.skip(f"this system lets nobody make a network: {holder.communicate()[1].strip()}")
    (folder / "bin").mkdir()
    wrapper = folder / "bin" / "adb"
    # Without the last variable the server takes port 5555 for an emulator as well.
    wrapper.write_text(
        f"#!/bin/sh\nexec nsenter -t {holder.pid} -n env HOME='{folder}' ANDROID_ADB_SERVER_PORT={SERVER_PORT} "
        f"TMPDIR='{folder}' ADB_LOCAL_TRANSPORT_MAX_PORT=5554 {adb} \"$@\"\n"
    )
    wrapper.chmod(0o755)
    one = Android(folder, holder)
    try:
        one.start()
        one.adb("start-server")
        yield one
    finally:
        one.adb("kill-server")
        one.kill()
        for process in (*one.others, holder):
            process.kill()
            process.communicate()
    assert shutil.which("adb") != str(wrapper)
