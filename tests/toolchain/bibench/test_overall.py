"""The benchmark's overall metrics and the corruption errors, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from edgepack.toolchain.bibench.overall import TRACKS, overall, quadratic_mean
from tests.toolchain.bibench.tables import cell, timing


def test_every_track_by_hand():
    cells = [
        cell("image", "cnn", "fp32", 0.8),
        cell("image", "cnn", "bnn", 0.6),
        cell("image", "transformer", "fp32", 0.5),
        cell("image", "transformer", "bnn", 0.2),
        cell("text", "cnn", "fp32", 0.9),
        cell("text", "cnn", "bnn", 0.45),
    ]
    at = [("image", "cnn"), ("image", "transformer"), ("text", "cnn")]
    timings = [timing(*place, "bnn", ratio) for place, ratio in zip(at, (2.0, 4.0, 6.0), strict=True)]
    found = overall("bnn", cells, timings)
    assert tuple(found.tracks) == TRACKS
    image, text = (0.75 + 0.4) / 2, 0.5
    assert found.tracks == {
        "task": pytest.approx(math.sqrt((image**2 + text**2) / 2)),
        "architecture": pytest.approx(math.sqrt((0.75**2 + 0.4**2) / 2)),
        "robustness": pytest.approx(1.0),
        "training": pytest.approx(0.5),
        "complexity": pytest.approx(math.sqrt((16.5**2 + (740 / 110) ** 2) / 2)),
        "inference": pytest.approx(math.sqrt((4.0**2 + 16.0**2) / 2)),
    }
    assert found.missing == {}
    assert found.notes == ["training: time alone, no learning rates were varied"]
    noise = [(0.45 + 0.55) / (0.25 + 0.35), (0.85 + 0.95) / (0.55 + 0.65)]
    blur = [(0.5 + 0.7) / (0.3 + 0.5), (0.9 + 1.1) / (0.6 + 0.8)]
    assert found.corruption_error == pytest.approx(sum(noise + blur) / 4)
    assert found.relative_corruption_error == pytest.approx(1.0)


def test_a_network_that_loses_less_is_more_robust_whatever_its_accuracy():
    own = cell("image", "cnn", "bnn", 0.5)
    for point in own.corrupted:
        point.accuracy = 0.5 - (0.8 - 0.5 - (0.3 - (0.5 - point.accuracy) / 2)) if point.severity else 0.5
    found = overall("bnn", [cell(), own], [])
    assert found.tracks["robustness"] == pytest.approx(2.0)
    assert found.relative_corruption_error == pytest.approx(0.5)


def test_the_sensitivity_to_the_learning_rate_is_the_second_term_of_training():
    cells = [cell("image", "cnn", name, accuracy) for name, accuracy in (("fp32", 0.8), ("bnn", 0.6))]
    cells += [
        cell("image", "cnn", name, accuracy, rate_factor=3.0)
        for name, accuracy in (("fp32", 0.78), ("bnn", 0.5))
    ]
    found = overall("bnn", cells, [])
    assert found.tracks["training"] == pytest.approx(quadratic_mean([0.5, 0.01 / 0.05]))
    assert found.notes == []
    assert found.tracks["task"] == pytest.approx(0.75), "other learning rates are no tasks"


def test_what_is_missing_leaves_its_track_without_a_number_and_says_why():
    lost = cell("text", "cnn", "bnn", missing="it diverged", accuracy=None, training=None, complexity=None,
                artifact=None)  # fmt: skip
    cells = [cell(), cell(method="bnn"), cell("text", "cnn"), lost]
    found = overall("bnn", cells, [timing()])
    assert set(found.tracks.values()) == {None}
    assert set(found.missing.values()) == {"text cnn: it diverged"}
    assert found.corruption_error is None
    refused = cell(method="bnn", artifact=None, not_exported="no operator")
    found = overall("bnn", [cell(), refused], [])
    assert found.missing == {"inference": "image cnn: no operator"}
    assert overall("bnn", [cell(), cell(method="bnn")], []).missing == {"inference": "image cnn: not timed"}


def test_gaps_that_are_no_gaps_are_left_out_and_named():
    own = cell("image", "cnn", "bnn", 0.5)
    for point in own.corrupted:
        if point.name == "noise":
            point.accuracy = 0.6
    found = overall("bnn", [cell(), own], [])
    assert found.tracks["robustness"] == pytest.approx(1.0)
    assert found.notes[0] == "robustness without noise: a gap there is zero or negative"
    assert found.relative_corruption_error == pytest.approx((-0.2 / 0.2 + 1) / 2)
