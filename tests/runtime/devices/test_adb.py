"""Devices over adb, with Android's own daemon and client: crashes, refusals, and what stays connected."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgepack.runtime.devices.device import opened
from edgepack.toolchain.errors import DeviceError, LinkLostError
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


def test_a_device_that_was_connected_here_is_disconnected(phone, workdir):
    with opened(phone.address, workdir=workdir):
        assert "127.0.0.1:5555\tdevice" in phone.adb("devices")
    assert "127.0.0.1:5555" not in phone.adb("devices")


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


def test_an_unknown_serial(phone):
    with pytest.raises(DeviceError, match="not found"), opened("adb://NOSUCHSERIAL"):
        pass
