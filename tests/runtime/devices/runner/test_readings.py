"""Clocks, sensors, batteries and kinds of cores, read from a tree that stands for a phone."""

from __future__ import annotations

import os

import pytest

from edgepack.runtime.devices.runner import plans, readings
from tests.runtime.devices.runner.boards import phone


@pytest.fixture
def root(tmp_path):
    return phone(tmp_path)


def test_a_phone(root):
    said = readings.reading(root)
    assert said["clock_khz"] == {"0": 900_000, "1": 900_000, "2": 1_200_000, "3": 1_450_000}
    assert said["cap_khz"]["3"] == 2_800_000
    assert said["governor"] == dict.fromkeys("0123", "schedutil")
    assert said["temperature_c"] == {"thermal_zone0 cpu-0-0": 41.5, "thermal_zone1 gpu": 38.0}
    assert said["throttled"] == {"cooling_device0 thermal-cpufreq-0": 2}
    battery = said["power"]["battery"]
    assert battery.pop("capacity") == "71"
    assert battery == {
        "type": "Battery",
        "status": "Discharging",
        "current_now": "-250000",
        "voltage_now": "4000000",
    }
    assert said["power"]["usb"] == {"type": "USB", "online": "0"}


def test_what_a_machine_does_not_tell_is_left_out(tmp_path):
    assert readings.reading(tmp_path) == {
        "clock_khz": {}, "cap_khz": {}, "governor": {}, "temperature_c": {}, "throttled": {}, "power": {},
    }  # fmt: skip
    assert readings.clusters(tmp_path) == []


def test_files_that_hold_no_number(root):
    (root / "sys/class/thermal/thermal_zone0/temp").write_text("hot")
    (root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").write_text("<unknown>")
    said = readings.reading(root)
    assert "0" not in said["clock_khz"]
    assert said["temperature_c"] == {"thermal_zone1 gpu": 38.0}


def test_this_machine_can_be_read():
    assert [cpu for cluster in readings.clusters() for cpu in cluster["cpus"]] == sorted(
        os.sched_getaffinity(0)
    )
    assert set(readings.reading()) == {
        "clock_khz",
        "cap_khz",
        "governor",
        "temperature_c",
        "throttled",
        "power",
    }


def test_plans_on_three_kinds_of_cores(root):
    clusters = readings.clusters(root)
    assert clusters == [
        {"cpus": [0, 1], "max_khz": 1_800_000},
        {"cpus": [2], "max_khz": 2_400_000},
        {"cpus": [3], "max_khz": 2_900_000},
    ]
    found = {name: plans.resolve(name, clusters, 2) for name in plans.NAMES}
    assert {name: (plan["cpus"], plan["threads"]) for name, plan in found.items()} == {
        "as-is": (None, 2),
        "one-big": ([3], 1),
        "all-big": ([2, 3], 2),
        "little": ([0, 1], 2),
        "all": ([0, 1, 2, 3], 4),
    }


def test_plans_where_all_cores_are_alike():
    clusters = [{"cpus": [0, 1, 2, 3], "max_khz": None}]
    skipped = [name for name in plans.NAMES if "skipped" in plans.resolve(name, clusters, 1)]
    assert skipped == ["all-big", "little"]
    assert plans.resolve("one-big", clusters, 1)["cpus"] == [3]
    assert "skipped" in plans.resolve("all", [], 1)


def test_cores_that_are_not_there_are_refused_in_words():
    before = os.sched_getaffinity(0)
    try:
        assert "refuses to bind to cores 4000" in str(plans.pin([4000]))
        one = min(before)
        assert plans.pin([one]) is None
        assert os.sched_getaffinity(0) == {one}
        assert "instead of" in str(plans.pin([one, 4000]))
    finally:
        os.sched_setaffinity(0, before)
