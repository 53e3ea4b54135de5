"""A phone that gets hot while it is measured, through the real transports: what its files and services say."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

import pytest

from edgepack.toolchain.devices import android, page, profiling, settings, shown
from edgepack.toolchain.devices.results import AndroidState
from edgepack.toolchain.report.text import cleaned
from tests.runtime.devices.android import network
from tests.runtime.devices.runner.boards import phone, put
from tests.runtime.devices.sshd import server

SUSTAINED = settings.Settings(min_samples=30, min_seconds=2.5, max_seconds=6.0, every_s=0.05)
# Android's services, as files of the phone let them answer.
DUMPSYS = """#!/bin/sh
usb=$(cat '{root}/usb') status=$(cat '{root}/status')
case "$1" in
    thermalservice) printf 'IsStatusOverride: false\\nThermal Status: %s\\n' "$status" ;;
    battery)
        printf 'Current Battery Service state:\\n  AC powered: false\\n  USB powered: %s\\n' "$usb"
        printf '  level: 71\\n  voltage: 4021\\n  temperature: 312\\n' ;;
esac
"""
CPU = "sys/devices/system/cpu/cpu{}/cpufreq/{}"


@pytest.fixture
def root(tmp_path):
    place = phone(tmp_path / "phone")
    (place / "status").write_text("0\n")
    (place / "usb").write_text("false\n")
    put(tmp_path, "bin/dumpsys", DUMPSYS.format(root=place))
    (tmp_path / "bin" / "dumpsys").chmod(0o755)
    return place


@pytest.fixture(
    params=[
        pytest.param("ssh", marks=pytest.mark.system("openssh-server")),
        pytest.param("adb", marks=pytest.mark.system("adb", "adbd")),
    ]
)
def device(request, root, tmp_path, monkeypatch):
    """Address and options of a real server whose programs are those of the phone."""
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    with contextlib.ExitStack() as stack:
        if request.param == "ssh":
            one = stack.enter_context(server(tmp_path, more=f"SetEnv PATH={path}\n"))
            yield one.address, {"ssh_config": one.config}
            return
        monkeypatch.setenv("PATH", path)
        (tmp_path / "net").mkdir()
        phone_ = stack.enter_context(network(tmp_path / "net"))
        monkeypatch.setenv("PATH", f"{tmp_path}/net/bin:{path}")
        yield phone_.address, {}
        monkeypatch.undo()


def swap(root, name, value):
    """As a sensor changes: whoever reads finds the old value or the new one."""
    beside = root / "new"
    beside.write_text(f"{value}\n")
    beside.replace(root / name)


def heat(root, workdir, stop):
    """A degree and a step of throttling with every turn, until nothing is left to take away.

    It begins with the first sample: a busy machine may take seconds from the first word to there, and what the
    device was before is read in between.
    """
    while not any(workdir.rglob("samples-*.f64")):
        if stop.wait(0.01):
            return
    for turn in range(1, 41):
        if stop.wait(0.05):
            return
        swap(root, "sys/class/thermal/thermal_zone0/temp", 41_500 + 1000 * turn)
        swap(root, "sys/class/thermal/cooling_device0/cur_state", 2 + turn // 4)
        for cpu in range(4):
            swap(root, CPU.format(cpu, "scaling_max_freq"), 1_700_000 - 20_000 * turn)
        if turn == 20:
            swap(root, CPU.format(0, "scaling_governor"), "powersave")
            swap(root, "status", 2)


@pytest.mark.slow
def test_heat_is_seen_while_it_comes(device, root, small_bundle, tmp_path):
    address, given = device
    stop, threads = threading.Event(), []

    def tell(sentence):
        if sentence.startswith("measuring"):
            threads.append(threading.Thread(target=heat, args=(root, tmp_path / "device", stop)))
            threads[0].start()

    try:
        found = profiling.profile(
            small_bundle, address, SUSTAINED, workdir=f"{tmp_path}/device", python=sys.executable,
            root=str(root), tell=tell, **given,
        )  # fmt: skip
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    (one,) = found.targets[0].measured
    heats = [window.reading.temperature_c["thermal_zone0 cpu-0-0"] for window in one.windows]
    assert len(heats) >= 20
    assert heats == sorted(heats)
    assert heats[-1] >= heats[0] + 5
    caps = [window.reading.cap_khz["0"] for window in one.windows]
    assert caps == sorted(caps, reverse=True)
    assert caps[-1] < caps[0]
    assert one.before.governor == dict.fromkeys("0123", "schedutil")
    assert one.after.governor["0"] == "powersave"
    assert any("slowed its processor down for heat: cooling_device0" in note for note in one.notes)
    assert one.slowdown is not None
    assert one.energy.watts == pytest.approx(1.0), "0.25 A at 4 V"
    assert (found.android_before.thermal_status, found.android_after.thermal_status) == ("none", "moderate")
    assert found.android_before.powered_by == []
    assert (found.android_before.battery_percent, found.android_before.battery_c) == (71, 31.2)
    said = " ".join(shown.conditions(found))
    assert "on battery (Discharging)" in said
    assert "Android after: thermal status moderate; on battery (71 %), battery 31 °C" in said
    html = page.html(cleaned(found)).decode()
    assert "time-0" in html
    assert "hottest sensor" in html


@pytest.mark.slow
@pytest.mark.system("openssh-server")
def test_at_a_cable_there_is_no_energy(root, small_bundle, tmp_path):
    put(root, "sys/class/power_supply/usb/online", 1)
    (root / "usb").write_text("true\n")
    short = settings.Settings(min_samples=30, min_seconds=0.1, max_seconds=2.0, every_s=0.05)
    with server(tmp_path, more=f"SetEnv PATH={tmp_path}/bin:{os.environ['PATH']}\n") as one:
        found = profiling.profile(
            small_bundle, one.address, short, workdir=f"{tmp_path}/device", python=sys.executable,
            root=str(root), ssh_config=one.config,
        )  # fmt: skip
    (measured,) = found.targets[0].measured
    assert measured.energy is None
    said = " ".join(shown.conditions(found))
    assert "on mains (usb), battery Discharging" in said
    assert "powered by USB (71 %)" in said


def test_services_that_say_something_else():
    assert android.read("") == AndroidState()
    found = android.read("thermal 9\nlevel much\nvoltage 4000\npowered AC\npowered USB\n")
    assert (found.thermal_status, found.battery_percent, found.battery_v) == (None, None, 4.0)
    assert android.sentence(found) == "thermal status not told; powered by AC and USB"
