"""Headroom of 16-bit ranges: inputs beyond what calibrated are not clipped, and what has 8 bits keeps its range."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from edgepack.quantize._tflite_headroom import FACTOR, GUESS_FACTOR, OWN_FACTORS, add_headroom
from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.litert import LitertSession
from edgepack.toolchain import tflite
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.results import Calibration

SIZE = 16


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Lowered:
    """1 / sqrt of squares, times a constant."""
    b = runpy.run_path(str(Path(__file__).parents[1] / "tflite_models.py"))["Builder"]()
    x = b.tensor("x", (1, SIZE))
    square = b.op("MUL", [x, x], "square", (1, SIZE))
    inverse = b.op(
        "RSQRT", [b.op("ADD", [square, b.constant("least", [0.01])], "sum", (1, SIZE))], "inverse", (1, SIZE)
    )
    y = b.op("MUL", [inverse, b.constant("half", [0.5])], "y_tensor", (1, SIZE))
    path = tmp_path_factory.mktemp("model") / "model.tflite"
    b.save(path, {"x": x}, {"y": y}, {})
    signature = Signature((TensorSpec("x", "float32", (1, SIZE)),), (TensorSpec("y", "float32", (1, SIZE)),))
    return Lowered("main", "tflite", path, signature)


def test_what_is_computed_gets_room_and_what_is_given_does_not(lowered: Lowered) -> None:
    names = ("x", "square", "sum", "inverse", "y_tensor", "half")
    seen = {name: {"min": np.full((1, 1), -1.0), "max": np.full((1, 1), 3.0)} for name in names}
    assert (
        add_headroom(seen, tflite.read(lowered.path), narrow=["ADD"]) == 2
    )  # ADD reads a square, and RSQRT its sum
    after = {name: (float(found["min"][0, 0]), float(found["max"][0, 0])) for name, found in seen.items()}
    wide = OWN_FACTORS["RSQRT"]
    assert after["inverse"] == (-wide, 3 * wide)
    assert after["y_tensor"] == (-FACTOR, 3 * FACTOR)
    assert {after[name] for name in ("x", "half", "square", "sum")} == {(-1.0, 3.0)}


def test_a_norms_first_guess_gets_less_than_others(tmp_path: Path) -> None:
    b = runpy.run_path(str(Path(__file__).parents[1] / "tflite_models.py"))["Builder"]()
    x = b.tensor("x", (1, SIZE))
    y = b.op("RSQRT", [b.op("RSQRT", [x], "norm/first", (1, SIZE))], "y_tensor", (1, SIZE))
    path = tmp_path / "model.tflite"
    b.save(path, {"x": x}, {"y": y}, {})
    seen = {name: {"min": np.zeros((1, 1)), "max": np.ones((1, 1))} for name in ("norm/first", "y_tensor")}
    assert add_headroom(seen, tflite.read(path)) == 2
    assert float(seen["norm/first"]["max"][0, 0]) == GUESS_FACTOR < FACTOR
    assert float(seen["y_tensor"]["max"][0, 0]) == OWN_FACTORS["RSQRT"]


def test_a_result_twice_as_large_as_any_seen_is_not_clipped(lowered: Lowered, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    feeds = [{"x": random.uniform(0.5, 1, (1, SIZE)).astype(np.float32)} for _ in range(8)]
    quantized = quantizers.get("litert-static")().quantize(
        lowered,
        "int16x8-static",
        CalibrationData(
            Calibration(kind="user", description="test", samples=8, held_out=0), feeds, [], "fingerprint"
        ),
        tmp_path,
        integer_npu=True,
    )
    less = {"x": np.full((1, SIZE), 0.27, np.float32)}
    with LitertSession(quantized.path, lowered.signature) as session:
        got = session.run(less)["y"]
    most = max(float((0.5 / np.sqrt(feed["x"] ** 2 + 0.01)).max()) for feed in feeds)
    expected = 0.5 / np.sqrt(less["x"] ** 2 + 0.01)
    assert expected.min() > 1.7 * most  # the samples had nothing like it
    np.testing.assert_allclose(got, expected, rtol=0.01)


def test_the_squares_of_a_norm_keep_their_range(tmp_path: Path) -> None:
    """An outlier's square leaves nothing to give away."""
    b = runpy.run_path(str(Path(__file__).parents[1] / "tflite_models.py"))["Builder"]()
    x = b.tensor("x", (1, SIZE))
    row = b.op("RELU", [x], "row", (1, SIZE))
    square = b.op("MUL", [row, row], "square", (1, SIZE))
    mean = b.op("MEAN", [square, b.constant("axis", [1], np.int32)], "mean", (1, 1), keepDims=True)
    total = b.op("ADD", [mean, b.constant("least", [0.01])], "total", (1, 1))
    root = b.op("RSQRT", [total], "root", (1, 1))
    y = b.op("MUL", [row, root], "y_tensor", (1, SIZE))
    path = tmp_path / "model.tflite"
    b.save(path, {"x": x}, {"y": y}, {})
    names = ("row", "square", "mean", "total", "root", "y_tensor")
    seen = {name: {"min": np.zeros((1, 1)), "max": np.ones((1, 1))} for name in names}
    assert add_headroom(seen, tflite.read(path)) == 2
    assert {name for name, found in seen.items() if found["max"][0, 0] > 1} == {"row", "y_tensor"}
