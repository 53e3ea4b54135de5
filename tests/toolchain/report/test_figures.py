"""The plots' data: one kind to an axis, whiskers where there is an interval, no bar without a number."""

from __future__ import annotations

import pytest

from edgepack.toolchain.report import figures
from edgepack.toolchain.results import Placement


def labels(figure) -> list[str]:
    return [label["left"] for label in figure.spec["labels"]]


def test_estimates_and_measurements_never_share_a_plot(manifest):
    measured, estimated = figures.latency(manifest)
    assert (measured.badge, estimated.badge) == ("measured", "vendor-estimate")
    assert not any("ethos" in label for label in labels(measured))
    assert all("ethos" in label for label in labels(estimated))
    assert "Nothing was timed" in estimated.caption
    assert all("pattern" in trace["marker"] for trace in estimated.spec["data"])


def test_losers_are_drawn_beside_what_is_shipped(manifest):
    measured = figures.latency(manifest)[0]
    assert labels(measured) == [
        "cpu:onnxruntime · int8-dynamic",
        "cpu:onnxruntime · fp32",
        "cpu:onnxruntime · int8-static",
        "mobile:litert · int8-dynamic",
        "mobile:litert · fp32",
    ]
    by_name = {trace["name"]: trace for trace in measured.spec["data"]}
    assert by_name["to ship"]["x"] == [7.91, 11.3]
    assert by_name["considered, not chosen"]["y"] == [1, 4]
    assert by_name["rejected by its gate"]["x"] == [9.2]


def test_whiskers_reach_from_the_interval(manifest):
    manifest.artifacts[2].latency.ci_low_ms = None
    ship = figures.latency(manifest)[0].spec["data"][0]
    assert ship["error_x"]["array"] == [pytest.approx(7.91 * 0.03), None]
    assert ship["error_x"]["arrayminus"] == [pytest.approx(7.91 * 0.02), None]


def test_what_is_not_a_number_has_no_bar(manifest):
    manifest.artifacts[0].latency.p50_ms = float("nan")
    measured = figures.latency(manifest)[0]
    assert measured.spec["data"][0]["x"] == [None, 11.3]
    assert measured.spec["labels"][0]["right"] == "NaN ms"


def test_bars_that_were_timed_differently_say_so(manifest):
    assert "differ" not in figures.latency(manifest)[0].caption
    manifest.artifacts[2].latency.shapes = {"input_ids": [1, 64]}
    manifest.artifacts[2].latency.threads = 4
    caption = figures.latency(manifest)[0].caption
    assert "Input shapes differ" in caption
    assert "Thread counts differ" in caption


def test_memory_shows_what_was_there_before(manifest):
    (memory,) = figures.memory(manifest)
    whole, before = memory.spec["data"]
    assert whole["x"] == [142, 98]
    assert before["x"] == [61]
    assert before["y"] == [0]


def test_sizes_include_the_candidates(manifest):
    (sizes,) = figures.sizes(manifest)
    assert "cpu:onnxruntime · fp32" in labels(sizes)


def test_placement_leaves_out_targets_without_an_accelerator(manifest):
    (placed,) = figures.placement(manifest)
    assert not any(label.startswith("cpu") for label in labels(placed))
    assert placed.spec["data"][0]["x"] == [86, 100]
    manifest.artifacts[1].placement = Placement(accelerator=0, cpu=0, device="Ethos-U55")
    assert "npu:ethos-u55-128 · int16x8-static" not in labels(figures.placement(manifest)[0])


def test_operators_are_ranked_and_cut(manifest):
    profile = manifest.artifacts[0].profile
    profile.operators = profile.operators * 2
    drawn = figures.operators(0, manifest.artifacts[0], profile)
    assert len(labels(drawn)) == 10
    assert labels(drawn)[0].startswith("DynamicQuantizeMatMul")
    assert "The 10 operators" in drawn.caption


def test_nothing_measured_nothing_drawn(bare):
    for make in (figures.latency, figures.sizes, figures.memory, figures.placement):
        assert make(bare) == []
