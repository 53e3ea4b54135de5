"""MLPerf's scenarios: the bound's formula, LoadGen's own figures beside ours, and what an invalid run says."""

from __future__ import annotations

import json
import math
from importlib.util import find_spec

import pytest

from edgepack.runtime.devices.runner import loadgen
from edgepack.toolchain.devices import profiling, settings, shown
from edgepack.toolchain.devices.scenarios import discarded, judged
from edgepack.toolchain.devices.settings import SCENARIOS, Settings
from edgepack.toolchain.errors import DeviceError, UnknownNameError, UsageError

needs_loadgen = pytest.mark.skipif(
    find_spec("mlperf_loadgen") is None, reason="LoadGen is not installed (distribution mlcommons-loadgen)"
)
SINGLE = Settings(min_samples=200, min_seconds=0.3, max_seconds=20.0, every_s=0.05, scenario="single-stream")
OFFLINE = Settings(min_samples=500, min_seconds=0.3, max_seconds=20.0, every_s=0.05, scenario="offline")


@pytest.mark.parametrize(("n", "most"), [(63, None), (64, 0), (420, 26), (1024, 79)])
def test_how_many_of_the_slowest_are_left_out(n, most):
    """64 and 420 are LoadGen's own words of runs that it made; the sum is exact, by whole numbers."""
    assert discarded(n) == most
    last = 0 if most is None else most + 1
    for k, within in ((last, True), (last + 1, False)):
        below = sum(math.comb(n, i) * 9 ** (n - i) for i in range(k + 1))
        assert (100 * below <= 10**n) == within


def test_by_our_own_loop(small_bundle, tmp_path, monkeypatch):
    """A Python without LoadGen: edgepack is named, and too few samples are no valid run."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "mlperf_loadgen.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    found = profiling.profile(small_bundle, "local", SINGLE, workdir=str(tmp_path / "device"))
    (one,) = found.targets[0].measured
    scenario, latency = one.scenario, one.latency
    assert scenario.tool.name == "edgepack"
    assert scenario.queries == latency.samples >= 200
    assert scenario.p90_ms == latency.p90_ms
    assert float(scenario.p90_bound_ms) >= float(scenario.p90_ms)
    assert not scenario.valid
    assert any("of at least 60 s" in reason for reason in scenario.why)
    assert "does not meet the rules" in " ".join(shown.sentences(found))
    assert "--scenario single-stream" in found.command


@needs_loadgen
def test_single_stream_by_loadgen(small_bundle, tmp_path):
    """The real one, in the runner's process: its 90th percentile is that of our clock around the same calls."""
    found = profiling.profile(small_bundle, "local", SINGLE, workdir=str(tmp_path / "device"))
    (one,) = found.targets[0].measured
    scenario, latency = one.scenario, one.latency
    assert scenario.tool.name == loadgen.DISTRIBUTION
    assert scenario.tool.version[0].isdigit()
    assert scenario.queries == latency.samples >= 200
    # LoadGen's clock runs around Python's frames as well: microseconds.
    assert 0 <= float(scenario.p90_ms) - float(latency.p90_ms) <= 0.5
    assert float(scenario.p90_bound_ms) >= float(scenario.p90_ms)
    assert len(one.windows) > 2
    assert sum(window.samples for window in one.windows) == scenario.queries
    assert "MLPerf's LoadGen" in " ".join(shown.sentences(found))


@needs_loadgen
def test_offline_by_loadgen(small_bundle, tmp_path):
    found = profiling.profile(small_bundle, "local", OFFLINE, workdir=str(tmp_path / "device"))
    (one,) = found.targets[0].measured
    scenario = one.scenario
    assert scenario.tool.name == loadgen.DISTRIBUTION
    assert scenario.queries == one.latency.samples >= 500
    assert scenario.p90_ms is None
    assert 0 < float(scenario.samples_per_s) <= float(one.calls_per_s)
    assert any("of at least 60 s" in reason for reason in scenario.why)


def entry(**given):
    result = {"result_validity": "VALID", "result_min_duration_met": True, "result_min_queries_met": True}
    return {"tool": {"name": loadgen.DISTRIBUTION, "version": "6"}, "result": {**result, **given}}


def test_what_loadgen_says_counts():
    single = {"result_90.00_percentile_latency_ns": 2_000_000, "early_stopping_latency_ss": 2_500_000}
    found = judged(SCENARIOS["single-stream"], [1.0] * 1024, 61.0, entry(**single), "0")
    assert (found.p90_ms, found.p90_bound_ms, found.valid) == (2.0, 2.5, True)
    found = judged(
        SCENARIOS["single-stream"], [1.0] * 1024, 61.0, entry(**single, result_validity="INVALID"), "0"
    )
    assert found.why == ["LoadGen calls the run invalid"]
    offline = judged(SCENARIOS["offline"], [1.0] * 24_576, 61.0, entry(result_samples_per_second=990.5), "0")
    assert (offline.samples_per_s, offline.valid) == (990.5, True)
    for wrong in ({}, {"result_samples_per_second": "fast"}, {"result_samples_per_second": math.nan}):
        with pytest.raises(DeviceError, match="LoadGen's figures"):
            judged(SCENARIOS["offline"], [1.0], 1.0, entry(**wrong), "0")
    assert judged(Settings(), [1.0], 1.0, None, "0") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks result_validity"),
        ("hello\n", "cannot be read"),
        (':::MLLOG {"key": "x"}\n', "cannot be read"),
        (":::MLLOG [1]\n", "cannot be read"),
    ],
)
def test_logs_that_are_none(tmp_path, text, said):
    (tmp_path / "log").write_text(text)
    with pytest.raises(DeviceError, match=said):
        loadgen.read(tmp_path / "log", "offline")


def test_a_log_that_tells_of_errors(tmp_path):
    names = (
        "result_validity",
        "result_min_duration_met",
        "result_min_queries_met",
        "result_samples_per_second",
    )
    lines = [json.dumps({"key": name, "value": 1}) for name in names]
    for errors in (0, 2):
        every = [*lines, json.dumps({"key": "num_errors", "value": errors})]
        (tmp_path / "log").write_text("".join(f":::MLLOG {line}\n" for line in every))
        if errors == 0:
            assert loadgen.read(tmp_path / "log", "offline")["result_samples_per_second"] == 1
            continue
        with pytest.raises(DeviceError, match="tells of errors"):
            loadgen.read(tmp_path / "log", "offline")


def test_rules():
    single, offline = (settings.make(scenario=name) for name in ("single-stream", "offline"))
    assert (single.min_samples, single.min_seconds, single.cool_down_s) == (1024, 60.0, 5.0)
    assert (offline.min_samples, offline.min_seconds) == (24_576, 60.0)
    with pytest.raises(UnknownNameError, match="server"):
        settings.make(scenario="server")
    with pytest.raises(UsageError, match="rules of its own"):
        settings.make("sustained", scenario="offline")
