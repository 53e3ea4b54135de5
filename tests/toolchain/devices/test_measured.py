"""Raw samples to figures: nothing is given that was not obtained, and nothing believed that does not add up."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from edgepack.toolchain.devices import settings
from edgepack.toolchain.devices.measured import measured
from edgepack.toolchain.errors import DeviceError, UnknownNameError, UsageError

QUIET: dict[str, Any] = {
    "clock_khz": {},
    "cap_khz": {},
    "governor": {},
    "temperature_c": {},
    "throttled": {},
    "power": {},
}
ALONE = {"name": "main", "linked": False, "calls": [{"part": "main"}], "shapes": {"x": [1, 8]}}
ROW = {"name": "row", "linked": True, "calls": [{"part": "prefill"}, {"part": "decode"}, {"part": "decode"}]}
BATTERY = {"type": "Battery", "status": "Discharging", "current_now": "-500000", "voltage_now": "4000000"}


def entry(times, windows=1, steps=1, **more):
    done = len(times) // steps
    flushes = [
        {"s": float(i + 1), "done": done * (i + 1) // windows, **QUIET, **more.get("during", {})}
        for i in range(windows)
    ]
    return {
        "plan": "as-is", "cpus": None, "threads": 1, "load_ms": 3.0,
        "warm_up": {"first_ms": 9.0, "runs": 4, "steady": True, "typical_ms": 1.0},
        "memory": {"baseline_bytes": 1, "load_bytes": 2, "peak_bytes": 3, "end_bytes": 4},
        "samples": {"file": "s", "sha256": "", "steps": steps}, "windows": flushes,
        "before": QUIET | more.get("before", {}), "after": QUIET | more.get("after", {}),
    }  # fmt: skip


def found(tmp_path, times, unit=ALONE, **more):
    file = tmp_path / "samples"
    file.write_bytes(array("d", times).tobytes())
    return measured(entry(times, steps=len(unit["calls"]), **more), unit, file, settings.Settings())


def test_one_part(tmp_path):
    one = found(tmp_path, [1.0, 2.0, 3.0] * 40, windows=4)
    latency = one.latency
    assert (latency.p50_ms, latency.samples) == (2.0, 120)
    assert (latency.first_run_ms, latency.load_ms) == (9.0, 3.0)
    assert one.latency.shapes == {"x": [1, 8]}
    assert one.calls_per_s == pytest.approx(500)
    assert [window.samples for window in one.windows] == [30] * 4
    assert one.windows[0].p90_ms == 3.0
    assert one.notes == []


def test_few_samples_have_no_percentiles(tmp_path):
    one = found(tmp_path, [1.0] * 5)
    assert one.latency.p90_ms is None
    assert one.latency.p99_ms is None
    assert one.latency.ci_low_ms is None
    assert "stopped at the limit of 20 s with 5 of 100 samples" in one.latency.note


def test_calls_in_a_row_are_told_apart(tmp_path):
    one = found(tmp_path, [10.0, 1.0, 3.0] * 100, unit=ROW)
    assert one.latency.p50_ms == 14.0
    assert one.latency.samples == 100
    assert one.parts["prefill"].p50_ms == 10.0
    assert one.parts["decode"].p50_ms == 2.0
    assert one.parts["decode"].samples == 200
    assert one.parts["decode"].first_run_ms is None, "nobody timed it"


@pytest.mark.parametrize(
    ("times", "said"),
    [([1.0] * 10, 9), ([1.0] * 10, 11), ([1.0, -1.0], 2), ([], 0)],
    ids=["more", "fewer", "negative", "none"],
)
def test_samples_that_do_not_add_up_are_not_believed(tmp_path, times, said):
    file = tmp_path / "samples"
    file.write_bytes(array("d", times).tobytes())
    with pytest.raises(DeviceError, match="are not what it says"):
        measured(entry([1.0] * said), ALONE, file, settings.Settings())


def test_windows_out_of_order(tmp_path):
    file = tmp_path / "samples"
    file.write_bytes(array("d", [1.0] * 10).tobytes())
    wrong = entry([1.0] * 10, windows=2)
    wrong["windows"][0]["done"] = 10
    with pytest.raises(DeviceError, match="not in order"):
        measured(wrong, ALONE, file, settings.Settings())


def test_a_skipped_plan_has_no_figures():
    one = measured({"plan": "little", "skipped": "all alike"}, ALONE, None, settings.Settings())
    assert one.skipped == "all alike"
    assert one.model_dump(exclude={"unit", "plan", "skipped"}, exclude_defaults=True) == {}


def test_slowing_down_shows_from_enough_windows_on(tmp_path):
    times = [1.0] * 100 + [1.5] * 100
    assert found(tmp_path, times, windows=20).slowdown == pytest.approx(1.5)
    assert found(tmp_path, times, windows=19).slowdown is None


def test_heat_that_slowed_the_processor_is_said(tmp_path):
    one = found(tmp_path, [1.0] * 200, before={"throttled": {"cpu0": 3}}, after={"throttled": {"cpu0": 5}})
    assert "slowed its processor down for heat: cpu0" in one.notes[0]


def test_energy_of_a_battery(tmp_path):
    one = found(tmp_path, [2.0] * 200, during={"power": {"b": BATTERY}})
    assert one.energy.watts == pytest.approx(2.0)
    assert one.energy.joules_per_call == pytest.approx(4e-3)


@pytest.mark.parametrize(
    "power",
    [
        {},
        {"b": BATTERY | {"status": "Charging"}},
        {"b": BATTERY, "usb": {"type": "USB", "online": "1"}},
        {"b": BATTERY | {"current_now": "-500"}},  # milliampere, as some vendors have it
        {"b": {key: value for key, value in BATTERY.items() if key != "voltage_now"}},
        {"b": BATTERY | {"current_now": "much"}},
    ],
    ids=["none", "charging", "at a cable", "another unit", "no voltage", "no number"],
)
def test_no_energy_that_was_not_measured(tmp_path, power):
    assert found(tmp_path, [2.0] * 200, during={"power": power}).energy is None


def test_presets():
    single = settings.make("single-stream")
    assert (single.min_samples, single.min_seconds) == (1024, 60.0)
    assert settings.make(sustain_s=120).min_seconds == 120
    assert settings.make(sustain_s=120).max_seconds == 120
    assert settings.make("single-stream", sustain_s=5).min_seconds == 60
    assert settings.make(sweep=True).plans == ("as-is", "one-big", "all-big", "little", "all")
    with pytest.raises(UnknownNameError, match="single-stream"):
        settings.make("single-steam")
    for wrong in (0, -1, float("inf"), float("nan")):
        with pytest.raises(UsageError, match="--sustain"):
            settings.make(sustain_s=wrong)
    with pytest.raises(UsageError, match="--threads"):
        settings.make(threads=0)
