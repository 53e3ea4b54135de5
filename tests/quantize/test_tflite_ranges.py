"""Ranges of what never left zero: LiteRT takes the file, and what was seen is as exact as before."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.quantize._tflite_ranges import widen
from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.litert import LitertSession
from edgepack.toolchain import tflite
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.results import Calibration

SIZE = 16
RELU = 1


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Lowered:
    """A dense layer whose ReLU rests, a product with it and one with zeros, and a sum that cancels."""
    builder = runpy.run_path(str(Path(__file__).parents[1] / "tflite_models.py"))["Builder"]
    b, random = builder(), np.random.default_rng(0).standard_normal
    x = b.tensor("x", (1, SIZE))
    weights = b.constant("w0", random((SIZE, SIZE)) / 8)
    rests = b.op("FULLY_CONNECTED", [x, weights, b.constant("b0", np.full(SIZE, -9.0))], "rests", (1, SIZE),
                 fusedActivationFunction=RELU)  # fmt: skip
    doubled = b.op("MUL", [x, b.constant("two", [2.0])], "doubled", (1, SIZE))
    # 3e-7 of x is left: a range that the steps of both terms cannot fill.
    cancelled = b.op("SUB", [doubled, b.op("MUL", [x, b.constant("near", [2.0 - 3e-7])], "nearly", (1, SIZE))],
                     "cancelled", (1, SIZE))  # fmt: skip
    nothing = b.op("MUL", [x, b.constant("zero", [0.0])], "nothing", (1, SIZE))
    gated = b.op("ADD", [b.op("MUL", [x, rests], "gated", (1, SIZE)), nothing], "sum", (1, SIZE))
    shifted = b.op("ADD", [cancelled, b.op("ADD", [gated, doubled], "shifted", (1, SIZE))], "last", (1, SIZE))
    y = b.op("FULLY_CONNECTED", [shifted, b.constant("w1", random((8, SIZE)))], "y_tensor", (1, 8))
    path = tmp_path_factory.mktemp("model") / "model.tflite"
    b.save(path, {"x": x}, {"y": y}, {})
    signature = Signature((TensorSpec("x", "float32", (1, SIZE)),), (TensorSpec("y", "float32", (1, 8)),))
    return Lowered("main", "tflite", path, signature)


def feeds(count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    return [{"x": random.standard_normal((1, SIZE)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize(("precision", "least"), [("int8-static", 0.999), ("int16x8-static", 0.9999)])
def test_litert_runs_what_rested_in_every_sample(
    precision: str, least: float, lowered: Lowered, tmp_path: Path
) -> None:
    facts = Calibration(kind="user", description="test", samples=32, held_out=0)
    quantized = quantizers.get("litert-static")().quantize(
        lowered, precision, CalibrationData(facts, feeds(32), [], "fingerprint"), tmp_path
    )
    steps = {
        tensor.name.decode(): float(np.min(tensor.quantization.scale))
        for tensor in tflite.read(quantized.path).subgraphs[0].tensors
        if tensor.quantization is not None and tensor.quantization.scale is not None
    }
    flat = {name: step for name, step in steps.items() if step < 1e-8 and name != "zero"}
    assert not flat  # looked at first: of such a file LiteRT may abort the whole process
    with (
        LitertSession(lowered.path, lowered.signature) as one,
        LitertSession(quantized.path, lowered.signature) as two,
    ):
        pairs = [(one.run(feed)["y"].ravel(), two.run(feed)["y"].ravel()) for feed in feeds(40)[32:]]
    a, b = map(np.concatenate, zip(*pairs, strict=True))
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > least


def extremes(**ends: tuple[float, float]) -> dict[str, dict[str, np.ndarray]]:
    return {
        name: {"min": np.full((1, 1), low, np.float32), "max": np.full((1, 1), high, np.float32)}
        for name, (low, high) in ends.items()
    }


def test_ranges_come_from_what_is_computed_with(lowered: Lowered) -> None:
    model: Any = tflite.read(lowered.path)
    seen = extremes(
        x=(-3, 4), rests=(0, 0), doubled=(-6, 8), nearly=(-6, 8), cancelled=(-1e-6, 1e-6), nothing=(0, 0),
        gated=(0, 0), sum=(0, 0), shifted=(-6, 8), last=(-6, 8), y_tensor=(-0.5, 1e-6),
    )  # fmt: skip
    before = {name: (float(e["min"][0, 0]), float(e["max"][0, 0])) for name, e in seen.items()}
    assert widen(seen, model) == 5
    after = {name: (float(e["min"][0, 0]), float(e["max"][0, 0])) for name, e in seen.items()}
    assert {after[name] for name in ("rests", "nothing", "gated", "sum")} == {(-3.0, 4.0)}
    low, high = after["cancelled"]
    assert high - low == pytest.approx(14 / 128, rel=1e-3)
    kept = ("x", "doubled", "nearly", "shifted", "last", "y_tensor")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert widen(seen, model) == 0


def test_an_input_that_was_always_zero_has_a_range(lowered: Lowered) -> None:
    seen = extremes(x=(0, 0), doubled=(0, 0))
    assert widen(seen, tflite.read(lowered.path)) == 2
    assert seen["x"]["max"] == seen["doubled"]["max"] == 1.0
