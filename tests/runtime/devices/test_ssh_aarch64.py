"""Devices over ssh whose server is a 64-bit ARM program: Debian's own sshd, emulated, on loopback.

Its shell is this machine's with an emulated board's few programs, as a board's is: what the server itself does
(key exchange, sftp, channels, exit codes) is done by ARM code.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgepack.runtime.devices.board import emulator
from edgepack.runtime.devices.device import opened
from edgepack.toolchain.errors import DeviceError
from tests.conftest import data_of, program_of
from tests.runtime.devices.sshd import server

pytestmark = [pytest.mark.slow, pytest.mark.system("openssh-server", "qemu-user-static", "aarch64-sshd")]


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """A running server. It does not start itself anew for a connection (-r): the kernel would not know how."""
    if os.geteuid() != 0:
        pytest.skip("only root may start an sshd that changes its user")
    folder, root = tmp_path_factory.mktemp("arm"), data_of("aarch64-sshd")
    qemu = program_of("qemu-user-static")
    place = str(root / "usr/sbin/sshd")
    command = (qemu, "-cpu", emulator.DEFAULT_PROCESSOR, "-L", str(root), place, "-r")
    with server(folder, *command) as one:
        yield one


def runs(base):
    return sorted(path.name for path in Path(base, "runs").iterdir())


def test_the_server_is_an_arm_program(arm):
    """Its machine in its header (ELF, e_machine 183 is AArch64), and the process that listens runs it."""
    place = data_of("aarch64-sshd") / "usr/sbin/sshd"
    assert int.from_bytes(place.read_bytes()[18:20], "little") == 183
    assert str(place) in Path(f"/proc/{arm.process.pid}/cmdline").read_text().split("\0")


def test_files_and_runs(arm, tmp_path):
    content = os.urandom(3 << 20)
    name = "it's a $(touch x) [c]*.bin"
    (tmp_path / "file").write_bytes(content)
    with opened(arm.address, workdir=str(tmp_path / "a 'device'"), config=arm.config) as device:
        with device.run() as run:
            assert run.place({name: tmp_path / "file"}) == {name}
            run.pull(name, tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == content
            result = run.start(["sh", "-c", 'printf %s "$1" >result.json', "sh", "a b'c"]).wait(120)
            assert result.read_text() == "a b'c"
        with device.run() as run:
            assert run.place({name: tmp_path / "file"}) == set()
            with pytest.raises(DeviceError, match=r"exit code 7.*went wrong"):
                run.start(["sh", "-c", "echo went wrong >&2; exit 7"]).wait(120)
        assert runs(device.base) == []
    assert not (tmp_path / "x").exists()


def test_a_link_that_breaks_in_the_middle(arm, tmp_path):
    with opened(arm.address, workdir=str(tmp_path / "device"), config=arm.config) as device:
        with device.run() as run:
            job = run.start(["sh", "-c", "echo x >>count; sleep 3; cp count result.json"])
            time.sleep(1.5)
            arm.cut()
            assert job.wait(120).read_text() == "x\n", "it ran once"
            assert job.links_lost >= 1
        assert runs(device.base) == []
