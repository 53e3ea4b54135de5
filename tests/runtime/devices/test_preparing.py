"""prepare.sh, restore.sh and run.sh: what they change on a tree of files, and that it is all put back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgepack.runtime.devices.device import opened
from edgepack.runtime.devices.preparing import prepared
from edgepack.runtime.devices.runner import archive
from edgepack.runtime.devices.shell import SCRIPTS
from tests.runtime.devices.runner.boards import phone, put

GOVERNOR = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
# Android's programs, as far as prepare.sh asks them.
ANDROID = {
    "cmd": 'echo "$*" >>"$LOG"; exit "${CMD_CODE:-0}"',
    "settings": "echo 0",
    "dumpsys": 'case "$1" in battery) echo "  USB powered: true" ;; power) echo "mWakefulness=Asleep" ;; '
    'thermalservice) echo "Thermal Status: 2" ;; esac',
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    place = phone(tmp_path / "a 'phone'")
    put(place, "sys/class/thermal/thermal_zone1/temp", 38_000)
    monkeypatch.setenv("EDGEPACK_ROOT", str(place))
    return place


@pytest.fixture
def android(tmp_path, monkeypatch):
    """Programs of that name, and where `cmd` writes what it was asked."""
    for name, body in ANDROID.items():
        put(tmp_path, f"bin/{name}", f"#!/bin/sh\n{body}")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def run(script, *words):
    command = ["sh", str(SCRIPTS / f"{script}.sh"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def governors(root):
    return [(root / GOVERNOR.format(cpu)).read_text().strip() for cpu in range(4)]


def test_clocks_are_fixed_and_put_back(root):
    (root / GOVERNOR.format(2)).write_text("performance\n")
    (root / GOVERNOR.format(3)).write_text("powersave\n")
    done = run("prepare")
    assert done.returncode == 0
    assert done.stdout.split() == ["cpu0=schedutil", "cpu1=schedutil", "cpu3=powersave"]
    assert governors(root) == ["performance"] * 4
    assert run("restore", *done.stdout.split()).returncode == 0
    assert governors(root) == ["schedutil", "schedutil", "performance", "powersave"]


def test_what_may_not_be_changed_is_said(root, remount_read_only):
    remount_read_only(root)
    done = run("prepare")
    assert done.stdout == ""
    assert "cpu0 keeps its governor schedutil: only root may change it" in done.stderr


def test_android_s_fixed_performance_mode(root, android):
    done = run("prepare")
    assert "fixed-performance-mode" in done.stdout.split()
    for said in ("airplane mode is off", "screen is off", "charging", "Thermal Status: 2"):
        assert said in done.stderr
    assert run("restore", *done.stdout.split()).returncode == 0
    assert android.read_text().splitlines() == [
        "power set-fixed-performance-mode-enabled true",
        "power set-fixed-performance-mode-enabled false",
    ]


def test_an_android_without_that_mode(root, android, monkeypatch):
    monkeypatch.setenv("CMD_CODE", "255")
    done = run("prepare")
    assert "fixed-performance-mode" not in done.stdout
    assert "Android 11" in done.stderr


@pytest.mark.parametrize(
    "word",
    [
        "cpu0=a;id",
        "cpu0/../../x=a",
        "../x=a",
        "cpu0=a b",
        "cpu0=",
        "x=a",
        "cpu0=$(id)",
        "",
        "cpu0=a=b",
        "-rf",
    ],
)
def test_restore_takes_no_other_words(root, word):
    before = governors(root)
    done = run("restore", word)
    assert done.returncode == 1
    assert done.stderr
    assert governors(root) == before


def test_it_waits_for_a_device_to_cool_down(root):
    assert run("prepare", "45").stderr == ""
    put(root, "sys/class/thermal/thermal_zone0/temp", 61_000)
    assert "the hottest sensor still has 61 degrees" in run("prepare", "45", "0").stderr


def test_a_device_is_as_it_was_after_an_error(root, tmp_path):
    def use():
        with opened("local", workdir=str(tmp_path / "dev")) as device, prepared(device) as notes:
            assert notes[0] == "prepared: cpu0=schedutil, cpu1=schedutil, cpu2=schedutil, cpu3=schedutil"
            assert governors(root) == ["performance"] * 4
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert governors(root) == ["schedutil"] * 4


def test_what_cannot_be_put_back_is_said(root, tmp_path):
    said: list[str] = []
    with (
        opened("local", workdir=str(tmp_path / "dev"), tell=said.append) as device,
        prepared(device) as notes,
    ):
        governor = root / GOVERNOR.format(1)
        governor.unlink()
        governor.mkdir()
    assert "not everything was put back" in notes[-1]
    assert "cannot set cpu1 back to schedutil" in notes[-1]
    assert notes[-1] in said


def test_run_by_hand(tmp_path):
    archive.write(tmp_path / archive.NAME)
    done = subprocess.run(
        ["sh", str(SCRIPTS / "run.sh"), sys.executable, "check", "request.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "request.json" in done.stderr
    assert not list(tmp_path.rglob("__pycache__"))
    assert run("run", "/no/python", "check", "x").returncode == 127


def test_scripts_are_where_the_wheel_takes_them_from():
    assert Path(SCRIPTS, "run.sh").is_file()
