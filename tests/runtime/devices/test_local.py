"""Devices, stores and jobs on this machine: the shortest way through everything that is no link."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.runtime.devices import device as devices
from edgepack.runtime.devices.device import opened
from edgepack.toolchain import files
from edgepack.toolchain.errors import DeviceError, UsageError

OK = ["sh", "-c", 'echo "{}" >result.json']


@pytest.fixture
def workdir(tmp_path):
    # Everything that a shell could take for something else.
    return str(tmp_path / 'it\'s a $(touch x) `id` "dir" [a-z]* & ; é -rf')


@pytest.fixture
def device(workdir):
    with opened("local", workdir=workdir) as one:
        yield one


def left(device):
    return held(f"{device.base}/runs")


def held(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_run_has_a_folder_of_its_own_that_is_gone_afterwards(device, tmp_path):
    model = tmp_path / "-rf $(id) 'x'.onnx"
    model.write_bytes(b"weights")
    names = {"main.onnx": model, "a folder/it's \"; rm -rf * #.bin": model, "-n": model}
    with device.run() as run:
        assert run.place(names) == set(names)
        for name in names:
            assert (tmp_path / run.folder / name).read_bytes() == b"weights"
        assert stat.S_IMODE(Path(run.folder).stat().st_mode) == 0o700
        result = run.start(["sh", "-c", 'cat -- "$1" >result.json', "sh", "./-n"]).wait(30)
        assert result.read_bytes() == b"weights"
        assert left(device) == [run.number]
    assert left(device) == []
    assert not result.exists()


def test_arguments_arrive_as_they_are(device):
    words = ["a b", "", "$HOME", "`id`", "'\"", "\\", "new\nline", "*", "-n", "--", "é", "$(id)", "!x"]
    program = 'import json, sys; json.dump(sys.argv[1:], open("result.json", "w"))'
    with device.run() as run:
        result = run.start(["python3", "-c", program, *words]).wait(30)
        assert json.loads(result.read_text()) == words


def test_a_file_is_sent_once_whatever_its_name(device, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"same")
    other.write_bytes(b"same")
    with device.run() as run:
        assert run.place({"a": one}) == {"a"}
    with device.run() as run:
        assert run.place({"b": other}) == set()


def test_a_damaged_file_in_the_store_is_replaced(device, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"right")
    kept = tmp_path / device.base / "store" / files.hash_file(file).sha256
    with device.run() as run:
        run.place({"a": file})
    kept.write_bytes(b"wrong")
    with device.run() as run:
        assert run.place({"a": file}) == {"a"}
    assert kept.read_bytes() == b"right"


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/../../up", "..", ""])
def test_nothing_is_placed_outside_of_the_run(device, tmp_path, name):
    file = tmp_path / "file"
    file.write_bytes(b"x")
    with device.run() as run, pytest.raises(DeviceError, match="inside the run's folder"):
        run.place({name: file})
    assert not (tmp_path / device.base / "runs" / "up").exists()


@pytest.mark.parametrize("number", ["", "..", "../..", "a/b", "*", "$(id)", "x y"])
def test_nothing_else_is_removed(device, number):
    run = devices.Run(device, number, device.base)
    assert run.ask("remove").code != 0
    assert held(device.base) == ["runs", "store"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo went wrong >&2; exit 7", "exit code 7.*went wrong"),
        ("exit 0", "left no result"),
        ("kill -9 $PPID; sleep 9", "process is gone"),
        ('rm -rf "$PWD"', "vanished|process is gone"),  # what is looked at first, folder or process
        ("exit 255", "exit code 255"),
    ],
)
def test_what_was_not_done_is_not_believed(device, command, words):
    with device.run() as run, pytest.raises(DeviceError, match=words):
        run.start(["sh", "-c", command]).wait(30)
    assert left(device) == []


def test_a_device_s_words_cannot_rewrite_the_terminal(workdir):
    said: list[str] = []
    with opened("local", workdir=workdir, tell=said.append) as device, device.run() as run:
        job = run.start(
            [
                "sh",
                "-c",
                "printf '\\033[2Jhalf\\n' >progress; sleep 2.5; printf '\\033]0;x\\007no\\n' >&2; exit 3",
            ]
        )
        with pytest.raises(DeviceError, match="no") as error:
            job.wait(30)
    assert str(error.value).isprintable()
    assert "?[2Jhalf" in said


LIES = {
    "another run's nonce": ("printf '%032d 0 %064d\\n' 0 0 >done", "does not know its number"),
    "no proof at all": ("echo success >done", "does not know its number"),
    "an empty file": (": >done", "does not know its number"),
    "a result that was changed after it was hashed": (
        (
            '(sleep 0.1; while [ ! -f done ]; do :; done; echo "[1]" >result.json) >/dev/null 2>&1 & '
            'echo "{}" >result.json'
        ),
        "not the one that the device hashed",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_device_that_lies_about_success(device, lie):
    command, words = LIES[lie]
    wait = "" if "changed" in lie else "; sleep 5"
    with device.run() as run:
        job = run.start(["sh", "-c", command + wait])
        time.sleep(0.5)  # the changed result is there before it is fetched
        with pytest.raises(DeviceError, match=words):
            job.wait(30)
    assert left(device) == []


def test_the_limit_ends_the_run_with_its_children(device, tmp_path):
    marks = tmp_path / "pids"
    command = f"sleep 60 & echo $! >'{marks}'; wait"
    with device.run() as run, pytest.raises(DeviceError, match="did not end within 1 s"):
        run.start(["sh", "-c", command]).wait(1)
    child = Path("/proc", marks.read_text().strip(), "stat")
    # A process that ended stays in the table until somebody asks after it.
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


def test_an_error_here_ends_the_run_there(device):
    def use():
        with device.run() as run:
            run.start(["sleep", "60"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert left(device) == []


# Begins a run that takes a minute, says so, and is killed.
DIES = """
import sys, time
from edgepack.runtime.devices.device import opened
with opened("local", workdir=sys.argv[1]) as device, device.run() as run:
    run.start(["sh", "-c", "echo $$ >number; sleep 60"])
    while not open(run.folder + "/number", "a+").tell():
        time.sleep(0.05)
    print(run.number, flush=True)
    time.sleep(60)
"""


def test_what_a_process_that_was_killed_left_is_ended_and_removed(workdir):
    """By the next one of this machine, and nothing else: not the run of another machine."""
    said: list[str] = []
    process = subprocess.Popen([sys.executable, "-c", DIES, workdir], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    number = process.stdout.readline().strip()
    process.kill()
    process.communicate()
    left_over = Path(workdir, "runs", number)
    sleeper = int((left_over / "number").read_text())
    os.kill(sleeper, 0)
    foreign = Path(workdir, "runs", "20260101-000000-abcdef")
    foreign.mkdir()
    (foreign / "owner").write_text("another machine\n")
    (left_over.parent / "not a run").mkdir()
    with opened("local", workdir=workdir, tell=said.append) as device:
        assert left(device) == [foreign.name, "not a run"]
        assert not Path(f"/proc/{sleeper}/exe").exists()
        with device.run(), device.run():
            assert len(left(device)) == 4, "those of this process are its own"
    assert [sentence for sentence in said if number in sentence]


def test_two_runs_from_two_machines_take_turns(device, workdir, tmp_path):
    """The lock here is passed by, as another machine would: the one on the device keeps them apart."""
    log = tmp_path / "log"
    said: list[str] = []
    command = f"echo begin >>'{log}'; sleep 1; echo end >>'{log}'; echo '{{}}' >result.json"
    other = replace(device, tell=said.append)
    with device.run() as first, other.run() as second:
        jobs = [run.start(["sh", "-c", command]) for run in (first, second)]
        for job in jobs:
            job.wait(30)
    assert log.read_text().split() == ["begin", "end"] * 2


def test_two_processes_of_one_machine_take_turns(workdir):
    order: list[str] = []
    said: list[str] = []

    def use(name):
        with opened("local", workdir=workdir, tell=said.append) as one, one.run() as run:
            order.append(f"{name} begins")
            run.start(["sh", "-c", "sleep 0.3; echo {} >result.json"]).wait(30)
            order.append(f"{name} ends")

    threads = [threading.Thread(target=use, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.split()[1] for entry in order] == ["begins", "ends"] * 2
    assert [entry.split()[0] for entry in order] in (list("aabb"), list("bbaa"))
    assert any("another process uses local" in sentence for sentence in said)


def test_a_device_in_use_is_an_error_after_the_wait(device, workdir):
    with pytest.raises(DeviceError, match="Another process"), opened("local", workdir=workdir, wait_s=0.2):
        pass


def test_a_full_disk_is_said_and_leaves_nothing(small_disk, tmp_path):
    big = tmp_path / "big.onnx"
    big.write_bytes(os.urandom(2 << 20))
    with opened("local", workdir=str(small_disk)) as device:
        with device.run() as run, pytest.raises(DeviceError, match=r"disk is full|No space left"):
            run.place({"big.onnx": big})
        assert held(f"{device.base}/store") == left(device) == []


def test_a_disk_that_fills_during_the_run_is_no_success(small_disk):
    command = "echo '{}' >result.json; head -c 3000000 /dev/zero >filling; exit 0"
    with opened("local", workdir=str(small_disk)) as device:
        with device.run() as run, pytest.raises(DeviceError, match="disk is full"):
            run.start(["sh", "-c", command]).wait(30)
        assert left(device) == []


def test_progress_is_told(workdir):
    said: list[str] = []
    with opened("local", workdir=workdir, tell=said.append) as device, device.run() as run:
        run.start(["sh", "-c", "echo half >progress; sleep 2.5; echo {} >result.json"]).wait(40)
    assert "half" in said


@pytest.mark.parametrize("workdir", ["relative", "", "/a\nb"])
def test_a_folder_on_the_device_is_an_absolute_path(workdir):
    with pytest.raises(UsageError, match="absolute"), opened("local", workdir=workdir):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match="--workdir"), opened("local", workdir=f"{tmp_path}/file/x"):
        pass


def test_a_killed_starter_leaves_no_lock(device):
    """The lock on the device is the kernel's: it goes with the process that held it."""
    with device.run() as run:
        job = run.start(["sleep", "60"])
        pid = None
        while pid is None:
            try:
                pid = int(Path(run.folder, "pid").read_text().split()[0])
            except FileNotFoundError:
                time.sleep(0.05)
        time.sleep(0.3)
        os.killpg(pid, signal.SIGKILL)
        with pytest.raises(DeviceError, match="process is gone"):
            job.wait(30)
    with device.run() as run:
        run.start(OK).wait(30)
