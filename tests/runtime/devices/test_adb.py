"""Devices over adb, with Android's own daemon and client: crashes, refusals, full disks, hostile names."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from edgepack.runtime.devices.device import opened
from edgepack.toolchain.errors import DeviceError, LinkLostError, ToolchainMissingError
from tests.runtime.devices.android import network

pytestmark = [pytest.mark.system("adb", "adbd")]

HOSTILE = 'it\'s a $(touch x) `id` "dir" [a-z]* ? & ; é\\ -rf'


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    with network(tmp_path_factory.mktemp("android")) as one:
        yield one


@pytest.fixture(autouse=True)
def client(phone, monkeypatch):
    monkeypatch.setenv("PATH", f"{phone.folder}/bin:{os.environ['PATH']}")


@pytest.fixture
def workdir(tmp_path):
    return str(tmp_path / HOSTILE)


def runs(base):
    return sorted(path.name for path in Path(base, "runs").iterdir())


def test_files_travel_whole_whatever_their_names(phone, workdir, tmp_path):
    content = os.urandom(1 << 20)
    names = ["-s other.bin", 'a "b" \\ [c]*.bin', "it's; rm -rf $HOME.bin", "é \u202e.bin"]
    wanted = {}
    for name in names:
        (tmp_path / name).write_bytes(content + name.encode())
        wanted[name] = tmp_path / name
    with opened(phone.address, workdir=workdir) as device:
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


def test_exit_codes_and_complaints_arrive(phone, workdir):
    with (
        opened(phone.address, workdir=workdir) as device,
        device.run() as run,
        pytest.raises(DeviceError, match=r"exit code 7.*went wrong"),
    ):
        run.start(["sh", "-c", "echo went wrong >&2; exit 7"]).wait(60)
    assert "127.0.0.1:5555" not in phone.adb("devices"), "what was connected here is disconnected"


def test_a_device_that_was_connected_stays_so(phone, workdir):
    phone.adb("connect", "127.0.0.1:5555")
    # By its serial, as a device at a cable is named.
    with opened("adb://127.0.0.1:5555", workdir=workdir):
        pass
    assert "127.0.0.1:5555\tdevice" in phone.adb("devices")
    phone.adb("disconnect", "127.0.0.1:5555")


def test_a_daemon_that_is_killed_in_the_middle(phone, workdir):
    """adb ends with 0 and half of the output then: that is no answer, and the run is taken up again."""
    said: list[str] = []
    with opened(phone.address, workdir=workdir, tell=said.append) as device:
        with device.run() as run:
            job = run.start(["sh", "-c", "echo x >>count; sleep 3; cp count result.json"])
            time.sleep(1)
            phone.kill()
            time.sleep(1)
            phone.start()
            assert job.wait(60).read_text() == "x\n", "it ran once"
            assert job.links_lost >= 1
        assert runs(device.base) == []
    assert "the link broke; trying again" in said


def test_a_run_that_dies_with_its_daemon_is_not_done(phone, workdir):
    """Android's init ends what a service started together with it."""
    with opened(phone.address, workdir=workdir) as device:
        with device.run() as run:
            job = run.start(["sleep", "60"])
            pid = Path(run.folder, "pid")
            while not pid.exists():
                time.sleep(0.05)
            time.sleep(0.3)
            os.killpg(int(pid.read_text().split()[0]), 9)
            phone.kill()
            phone.start()
            with pytest.raises(DeviceError, match="process is gone"):
                job.wait(60)
        assert runs(device.base) == []


def test_a_device_that_is_gone_for_good(phone, workdir):
    said: list[str] = []
    try:
        with opened(phone.address, workdir=workdir, tell=said.append) as device:
            with device.run() as run:
                job = run.start(["sleep", "60"], patience_s=1)
                time.sleep(0.7)
                phone.kill()
                with pytest.raises(LinkLostError, match="gave no answer for 1 s"):
                    job.wait(60)
            assert any(run.folder in sentence and "is left" in sentence for sentence in said)
    finally:
        phone.start()


def test_a_device_that_refuses_our_key(phone):
    address = phone.refuser(5601)
    with (
        pytest.raises(DeviceError, match=r"not allowed this computer.*Unlock it") as error,
        opened(address),
    ):
        pass
    assert not isinstance(error.value, LinkLostError)


def test_nobody_there(phone):
    with pytest.raises(LinkLostError, match="cannot be reached"), opened("adb://127.0.0.1:5603"):
        pass


def test_an_unknown_serial(phone):
    with pytest.raises(DeviceError, match="not found"), opened("adb://NOSUCHSERIAL"):
        pass


def test_two_clients_at_once_take_turns(phone, workdir, tmp_path):
    log = tmp_path / "log"
    results = []

    def use(address):
        with opened(address, workdir=workdir) as device, device.run() as run:
            command = f"echo begin >>'{log}'; sleep 0.7; echo end >>'{log}'; echo '{{}}' >result.json"
            results.append(run.start(["sh", "-c", command]).wait(60).read_text())

    addresses = [phone.address, "adb://localhost:5555", phone.address]
    threads = [threading.Thread(target=use, args=(address,)) for address in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.read_text().split() == ["begin", "end"] * 3
    assert results == ["{}\n"] * 3


def test_a_full_disk(phone, small_disk, tmp_path):
    big = tmp_path / "big.onnx"
    big.write_bytes(os.urandom(2 << 20))
    with opened(phone.address, workdir=str(small_disk)) as device:
        with device.run() as run, pytest.raises(DeviceError, match=r"disk is full: big.onnx takes 2.1 MB"):
            run.place({"big.onnx": big})
        assert runs(device.base) == []
        assert list(Path(device.base, "store").iterdir()) == []
        with device.run() as run, pytest.raises(DeviceError, match="disk is full"):
            run.start(["sh", "-c", "head -c 3000000 /dev/zero >filling; echo '{}' >result.json"]).wait(60)
        assert runs(device.base) == []


def test_a_device_that_lies_about_success(phone, workdir):
    with opened(phone.address, workdir=workdir) as device, device.run() as run:
        job = run.start(["sh", "-c", "printf '%032d 0 %064d\\n' 0 0 >done; sleep 5"])
        with pytest.raises(DeviceError, match="not believed"):
            job.wait(60)


def test_adb_that_is_not_installed(phone, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainMissingError, match="apt install adb"), opened(phone.address):
        pass
