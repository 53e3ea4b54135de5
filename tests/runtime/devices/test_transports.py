"""What every link must do, over the real servers of ssh and adb: hostile names, turns, full disks, hidden clients."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgepack.runtime.devices.device import opened
from edgepack.toolchain.errors import DeviceError, LinkLostError, ToolchainMissingError
from tests.runtime.devices.android import network
from tests.runtime.devices.sshd import server

HOSTILE = 'it\'s a $(touch x) `id` "dir" [a-z]* ? & ; é\\ -rf'


@dataclass
class Link:
    """A device that can be reached.

    Attributes:
        address: Its address.
        other: Another spelling of it: another lock here, the same device.
        nobody: An address of the same kind at which nobody listens, and what the client says of it.
        install: What the error of a missing client says.
        given: Options of `opened`.
        path: Folder of a client that goes first into PATH.
    """

    address: str
    other: str
    nobody: tuple[str, str]
    install: str
    given: dict[str, Any] = field(default_factory=dict)
    path: str | None = None


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("ssh", marks=pytest.mark.system("openssh-server")),
        pytest.param("adb", marks=pytest.mark.system("adb", "adbd")),
    ],
)
def link(request, tmp_path_factory) -> Iterator[Link]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "adb":
        with network(folder) as one:
            nobody = ("adb://127.0.0.1:5603", "cannot be reached")
            yield Link(one.address, "adb://localhost:5555", nobody, "apt install adb", path=f"{folder}/bin")
        return
    with server(folder) as one:
        known = folder / "known_hosts"
        known.write_text(known.read_text() + known.read_text().replace("127.0.0.1", "localhost"))
        nobody = ("ssh://127.0.0.1:9", "Connection refused")
        other = one.address.replace("127.0.0.1", "localhost")
        yield Link(one.address, other, nobody, "apt install openssh-client", {"config": one.config})


@pytest.fixture(autouse=True)
def client(link, monkeypatch):
    if link.path:
        monkeypatch.setenv("PATH", f"{link.path}:{os.environ['PATH']}")


@pytest.fixture
def workdir(tmp_path):
    return str(tmp_path / HOSTILE)


def runs(base):
    return sorted(path.name for path in Path(base, "runs").iterdir())


def test_files_travel_whole_whatever_their_names(link, workdir, tmp_path):
    content = os.urandom(1 << 20)
    names = [
        "-o ProxyCommand=x.bin",
        "-s other.bin",
        'a "b" \\ [c]*.bin',
        "it's; rm -rf $HOME.bin",
        "ü\u202e.bin",
    ]
    wanted = {}
    for name in names:
        (tmp_path / name).write_bytes(content + name.encode())
        wanted[name] = tmp_path / name
    with opened(link.address, workdir=workdir, **link.given) as device:
        with device.run() as run:
            assert run.place(wanted) == set(names)
            for name in names:
                run.pull(name, tmp_path / "back")
                assert (tmp_path / "back").read_bytes() == content + name.encode()
            words = ["a b", "", "$HOME", "`id`", "'\"", "\\", "new\nline", "*", "-n", "--", "é", "!x"]
            program = 'import json, sys; json.dump(sys.argv[1:], open("result.json", "w"))'
            result = run.start(["python3", "-c", program, *words]).wait(60)
            assert json.loads(result.read_text()) == words
        assert runs(device.base) == []
        with device.run() as run:
            assert run.place(wanted) == set(), "the device has them"
    assert not (tmp_path / "x").exists()


def test_exit_codes_and_complaints_arrive(link, workdir):
    with (
        opened(link.address, workdir=workdir, **link.given) as device,
        device.run() as run,
        pytest.raises(DeviceError, match=r"exit code 7.*went wrong"),
    ):
        run.start(["sh", "-c", "echo went wrong >&2; exit 7"]).wait(60)


def test_a_device_that_lies_about_success(link, workdir):
    with opened(link.address, workdir=workdir, **link.given) as device, device.run() as run:
        job = run.start(["sh", "-c", "printf '%032d 0 %064d\\n' 0 0 >done; sleep 5"])
        with pytest.raises(DeviceError, match="not believed"):
            job.wait(60)


def test_clients_take_turns(link, workdir, tmp_path):
    """From one machine by its lock here, from two by the one on the device (two spellings of the address)."""
    log = tmp_path / "log"
    results = []

    def use(address):
        with opened(address, workdir=workdir, **link.given) as device, device.run() as run:
            command = f"echo begin >>'{log}'; sleep 0.7; echo end >>'{log}'; echo '{{}}' >result.json"
            results.append(run.start(["sh", "-c", command]).wait(60).read_text())

    addresses = [link.address, link.other, link.address]
    threads = [threading.Thread(target=use, args=(address,)) for address in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.read_text().split() == ["begin", "end"] * 3
    assert results == ["{}\n"] * 3


def test_a_full_disk(link, small_disk, tmp_path):
    big = tmp_path / "big.onnx"
    big.write_bytes(os.urandom(2 << 20))
    with opened(link.address, workdir=str(small_disk), **link.given) as device:
        with device.run() as run, pytest.raises(DeviceError, match=r"disk is full: big.onnx takes 2.1 MB"):
            run.place({"big.onnx": big})
        assert runs(device.base) == []
        assert list(Path(device.base, "store").iterdir()) == []
        with device.run() as run, pytest.raises(DeviceError, match="disk is full"):
            run.start(["sh", "-c", "head -c 3000000 /dev/zero >filling; echo '{}' >result.json"]).wait(60)
        assert runs(device.base) == []


def test_nobody_there(link):
    address, said = link.nobody
    with pytest.raises(LinkLostError, match=said), opened(address, **link.given):
        pass


def test_a_client_that_is_not_installed(link, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ToolchainMissingError, match=link.install),
        opened(link.address, **link.given),
    ):
        pass
