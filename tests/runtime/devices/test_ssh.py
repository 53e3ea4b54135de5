"""Devices over ssh, with OpenSSH's own server: links that break, keys that are refused, files that arrive wrong."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from edgepack.runtime.devices.device import opened
from edgepack.runtime.devices.transports.ssh import SshTransport, _quoted
from edgepack.toolchain import files
from edgepack.toolchain.errors import DeviceError, LinkLostError, UsageError
from tests.runtime.devices.sshd import server, write_config

pytestmark = pytest.mark.system("openssh-server")

HOSTILE = 'it\'s a $(touch x) `id` "dir" [a-z]* ? & ; é\\ -rf'


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    with server(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture
def workdir(tmp_path):
    return str(tmp_path / HOSTILE)


def runs(base):
    return sorted(path.name for path in Path(base, "runs").iterdir())


def test_one_connection_carries_everything_and_is_closed(sshd, workdir):
    with opened(sshd.address, workdir=workdir, config=sshd.config) as device:
        first = sshd.sessions()
        device.transport.run("workspace", workdir)
        assert len([pid for pid in sshd.sessions() if pid in first]) == len(first) > 0
        assert isinstance(device.transport, SshTransport)
        folder = device.transport._folder
        assert (folder.stat().st_mode & 0o777) == 0o700
    assert not folder.exists()
    deadline = time.monotonic() + 10
    while sshd.sessions() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sshd.sessions() == []


def test_a_link_that_breaks_in_the_middle_is_taken_up_again(sshd, workdir):
    said: list[str] = []
    with opened(sshd.address, workdir=workdir, config=sshd.config, tell=said.append) as device:
        with device.run() as run:
            job = run.start(["sh", "-c", "echo x >>count; sleep 3; cp count result.json"])
            time.sleep(1)
            sshd.cut()
            result = job.wait(60)
            assert result.read_text() == "x\n", "it ran once"
            assert job.links_lost >= 1
        assert runs(device.base) == []
    assert "the link broke; trying again" in said


def test_a_server_that_is_away_for_a_while(sshd, workdir):
    with opened(sshd.address, workdir=workdir, config=sshd.config) as device:
        with device.run() as run:
            job = run.start(["sh", "-c", "sleep 1; echo {} >result.json"])
            time.sleep(0.7)
            sshd.stop()
            time.sleep(2)
            sshd.start()
            assert job.wait(60).read_text() == "{}\n"
        assert runs(device.base) == []


def test_a_server_that_stays_away_is_an_error_that_names_what_is_left(sshd, workdir):
    said: list[str] = []
    try:
        with opened(sshd.address, workdir=workdir, config=sshd.config, tell=said.append) as device:
            with device.run() as run:
                job = run.start(["sleep", "30"], patience_s=1)
                time.sleep(0.7)
                sshd.stop()
                with pytest.raises(LinkLostError, match="gave no answer for 1 s") as error:
                    job.wait(60)
            assert run.folder in str(error.value)
            assert any(run.folder in sentence and "is left" in sentence for sentence in said)
    finally:
        sshd.start()


REFUSED = {
    "a key that the device does not know": (
        "stranger",
        "known_hosts",
        "does not accept our key.*ssh-copy-id",
    ),
    "a host key that is not known here": ("user", "empty", "host key is not known here"),
    "a host key that is another one": ("user", "other", "another one than before"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_said_with_their_cure_and_nothing_is_tried_again(sshd, case):
    key, known, words = REFUSED[case]
    (sshd.folder / "empty").write_text("")
    (sshd.folder / "other").write_text(
        f"[127.0.0.1]:{sshd.port} {(sshd.folder / 'stranger.pub').read_text()}"
    )
    config = write_config(sshd.folder, key, known)
    with pytest.raises(DeviceError, match=words) as error, opened(sshd.address, config=config):
        pass
    assert not isinstance(error.value, LinkLostError)
    assert (sshd.folder / "empty").read_text() == "", "no host key is accepted on its own"


def test_a_transfer_that_says_it_went_well_and_did_not(sshd, workdir, tmp_path, monkeypatch):
    """The client ends with 0, and the device has something else: found by its hash, twice, then said."""
    file = tmp_path / "main.onnx"
    file.write_bytes(b"right")
    (tmp_path / "half").write_bytes(b"ri")
    with opened(sshd.address, workdir=workdir, config=sshd.config) as device:
        push = device.transport.push
        monkeypatch.setattr(
            device.transport, "push", lambda _, place, **given: push(tmp_path / "half", place, **given)
        )
        with device.run() as run, pytest.raises(DeviceError, match="the client's success was none"):
            run.place({"main.onnx": file})
        assert list(Path(device.base, "store").iterdir()) == []


@pytest.mark.parametrize("sound", [True, False])
def test_a_broken_transfer_goes_on_where_it_was(sshd, workdir, tmp_path, monkeypatch, sound):
    """A wrong first half shows that the second turn left it alone; its hash shows, and a third sends everything."""
    file, half = tmp_path / "main.onnx", tmp_path / "half"
    file.write_bytes(os.urandom(1 << 20))
    half.write_bytes(file.read_bytes()[: 1 << 19] if sound else bytes(1 << 19))
    with opened(sshd.address, workdir=workdir, config=sshd.config) as device:
        push, resumed = device.transport.push, []

        def broken(source, place, *, resume=False):
            resumed.append(resume)
            push(source if len(resumed) > 1 else half, place, resume=resume)
            if len(resumed) == 1:
                raise device.transport.lost("half-way")

        monkeypatch.setattr(device.transport, "push", broken)
        with device.run() as run:
            assert run.place({"main.onnx": file}) == {"main.onnx"}
            assert Path(run.folder, "main.onnx").read_bytes() == file.read_bytes()
        assert resumed == ([False, True] if sound else [False, True, False])


def test_a_link_that_breaks_while_a_file_is_sent(sshd, workdir, tmp_path):
    """Cut as soon as something has arrived, and again."""
    file = tmp_path / "main.onnx"
    file.write_bytes(os.urandom(48 << 20))
    sizes: list[int] = []

    def cut(folder):
        for least in (1 << 20, 8 << 20):
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                size = max((path.stat().st_size for path in folder.glob("incoming-*")), default=0)
                if size > least:
                    sshd.cut()
                    sizes.append(size)
                    break
                time.sleep(0.0005)

    with opened(sshd.address, workdir=workdir, config=sshd.config) as device, device.run() as run:
        cutter = threading.Thread(target=cut, args=(Path(run.folder),))
        cutter.start()
        assert run.place({"main.onnx": file}) == {"main.onnx"}
        cutter.join()
        assert Path(run.folder, "main.onnx").read_bytes() == file.read_bytes()
        found = sorted(path.name for path in Path(run.folder).iterdir())
        assert found == ["main.onnx", "owner"], "no half of a file is left"
    assert sizes
    assert sizes[0] < file.stat().st_size, "the first cut was in the middle"


def test_keys_are_never_logged(sshd, workdir, caplog, capfd):
    secret = (sshd.folder / "user").read_text().split("\n")[2]
    said: list[str] = []
    with (
        caplog.at_level(logging.DEBUG),
        opened(sshd.address, workdir=workdir, config=sshd.config, tell=said.append) as device,
        device.run() as run,
    ):
        run.start(["sh", "-c", "echo {} >result.json"]).wait(60)
    out, err = capfd.readouterr()
    assert secret not in " ".join([caplog.text, out, err, *said])


def test_a_configuration_that_is_not_there(sshd, tmp_path):
    with (
        pytest.raises(UsageError, match="no such ssh configuration"),
        opened(sshd.address, config=tmp_path / "none"),
    ):
        pass


def test_sftp_takes_no_line_breaks():
    with pytest.raises(UsageError, match="line break"):
        _quoted("/home/a\nrm b")


def test_a_hash_is_the_file_s(sshd, workdir, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    with opened(sshd.address, workdir=workdir, config=sshd.config) as device, device.run() as run:
        run.place({"file": file})
        kept = Path(device.base, "store", files.hash_file(file).sha256)
        done = subprocess.run(["sha256sum", kept], capture_output=True, text=True, check=True)
        assert done.stdout.split()[0].lstrip("\\") == kept.name
