"""Predictors find what is additive, and are switched off when they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgepack.quantize._onnx_mixed_groups import FORMS, Group
from edgepack.toolchain.results import Parity
from edgepack.toolchain.search import predict
from edgepack.toolchain.search.results import Measured, Point, Predicted

GROUPS = [Group(f"{i:03d}", "product", (f"n{i}",), ((64, 64 if i % 2 else 96),), FORMS) for i in range(10)]
COST = {"fp32": 0.0, "int8-dynamic": -0.05, "int8-static": -0.07, "int8-weights": 0.02, "int4-weights": 0.04}
NOISE = {"int8-dynamic": 3e-5, "int8-static": 5e-5, "int8-weights": 2e-5, "int4-weights": 4e-3}
BYTES = {"fp32": 4.0, "int8-dynamic": 1.0, "int8-static": 1.0, "int8-weights": 1.1, "int4-weights": 0.6}


def candidate(rng: np.random.Generator, order: int) -> Point:
    """With an additive latency, and a loss of which every group has a share of its own."""
    chosen = {group.name: str(rng.choice(FORMS)) for group in GROUPS}
    forms = {name: form for name, form in chosen.items() if form != "fp32"}
    sizes = [1 if group.shapes[0][1] == 64 else 2 for group in GROUPS]
    latency = 1 + sum(COST[form] * size for size, form in zip(sizes, chosen.values(), strict=True))
    loss = sum((1 + i % 3) * NOISE.get(form, 0) for i, form in enumerate(chosen.values())) * rng.uniform(
        0.9, 1.1
    )
    measured = Measured(
        loss=loss, latency=latency * rng.uniform(0.99, 1.01), latency_low=0, latency_high=2, rounds=9,
        size_bytes=int(1000 * sum(BYTES[form] for form in chosen.values())),
        parity=Parity(passed=True), seconds=1,
    )  # fmt: skip
    return Point(side="search", number=order, order=order, forms=forms, measured=measured)


def predictor(points):
    noise = {(group.name, form): value for group in GROUPS for form, value in NOISE.items()}
    counted = {(group.name, form): 1000 * value for group in GROUPS for form, value in BYTES.items()}
    return predict.Predictor(GROUPS, noise, counted, 40_000, points)


def predicted(points):
    """Every point from the eighth on, predicted from those before it."""
    made = list(points[: predict.FEWEST])
    for index in range(predict.FEWEST, len(points)):
        guess = predictor(points[:index]).predict(points[index].forms)
        made.append(points[index].model_copy(update={"predicted": guess}))
    return made


def test_additive_candidates_are_predicted():
    rng = np.random.default_rng(0)
    points = predicted([candidate(rng, i) for i in range(40)])
    found: dict[str, Any] = {check.quantity: check for check in predict.checks(points)}
    assert {check.pairs for check in found.values()} == {32}
    assert found["latency"].spearman > 0.9
    assert found["latency"].relative_error < 0.06
    assert found["loss"].spearman > 0.8
    assert found["loss"].relative_error < 0.4
    assert found["size"].relative_error == pytest.approx(0, abs=1e-3)
    assert predict.switched_off(points) is None


def test_too_few_points_predict_nothing():
    rng = np.random.default_rng(0)
    assert not predictor([candidate(rng, i) for i in range(predict.FEWEST - 1)]).ready


def test_predictors_that_do_not_hold_are_switched_off_and_stay_so():
    rng = np.random.default_rng(1)
    points = [candidate(rng, i) for i in range(30)]

    def guessed(point, latency):
        return point.model_copy(
            update={"predicted": Predicted(loss=point.measured.loss, latency=latency, size_bytes=1)}
        )

    bad = [guessed(point, rng.random()) for point in points[:15]]
    good = [guessed(point, point.measured.latency) for point in points[15:]]
    assert predict.switched_off(bad[: predict.CHECKED - 1]) is None
    why = predict.switched_off(bad)
    assert why is not None
    assert "rank correlation of the latency" in why
    assert predict.switched_off(bad + good) == why, "later luck does not switch them on again"
    assert predict.switched_off([guessed(point, point.measured.latency) for point in points]) is None


def test_a_check_without_predictions_has_no_numbers():
    check = predict.checks([candidate(np.random.default_rng(0), 0)])[0]
    assert (check.pairs, check.spearman, check.relative_error) == (0, None, None)
