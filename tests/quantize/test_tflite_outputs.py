"""A result that another operator reads in float: the quantized file gives it back."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.quantize._tflite_outputs import name_outputs
from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.litert import LitertSession
from edgepack.toolchain import tflite
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.results import Calibration

SIZE = 16


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Lowered:
    """A recurrent cell: its state is a result, and what the scores are computed from."""
    builder = runpy.run_path(str(Path(__file__).parents[1] / "tflite_models.py"))["Builder"]
    b, random = builder(), np.random.default_rng(0).standard_normal
    x, state = b.tensor("x", (1, SIZE)), b.tensor("state", (1, SIZE))
    mixed = b.op("FULLY_CONNECTED", [x, b.constant("w0", random((SIZE, SIZE)) / 4)], "mixed", (1, SIZE))
    after = b.op("TANH", [b.op("ADD", [mixed, state], "sum", (1, SIZE))], "next_state", (1, SIZE))
    scores = b.op("FULLY_CONNECTED", [after, b.constant("w1", random((8, SIZE)))], "scores", (1, 8))
    path = tmp_path_factory.mktemp("model") / "model.tflite"
    b.save(path, {"x": x, "state": state}, {"scores": scores, "next_state": after}, {})
    inputs = tuple(TensorSpec(name, "float32", (1, SIZE)) for name in ("x", "state"))
    outputs = (TensorSpec("scores", "float32", (1, 8)), TensorSpec("next_state", "float32", (1, SIZE)))
    return Lowered("main", "tflite", path, Signature(inputs, outputs))


def feeds(count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    values = random.uniform(-1, 1, (count, 2, 1, SIZE)).astype(np.float32)
    return [{"x": x, "state": state} for x, state in values]


def test_a_state_that_is_read_in_float_comes_back(lowered: Lowered, tmp_path: Path) -> None:
    facts = Calibration(kind="user", description="test", samples=32, held_out=0)
    quantized = quantizers.get("litert-static")().quantize(
        lowered, "int8-static", CalibrationData(facts, feeds(32), [], "fingerprint"), tmp_path, ends="float"
    )
    kinds = [operator.op for operator in tflite.operators(tflite.read(quantized.path))]
    assert "DEQUANTIZE" in kinds  # in front of the scores, which stay float
    with (
        LitertSession(lowered.path, lowered.signature) as one,
        LitertSession(quantized.path, lowered.signature) as two,
    ):
        for feed in feeds(40)[32:]:
            expected, got = one.run(feed), two.run(feed)
            for name in ("scores", "next_state"):
                a, b = expected[name].ravel(), got[name].ravel()
                assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.99


def test_outputs_that_are_named_stay(lowered: Lowered) -> None:
    model: Any = tflite.read(lowered.path)
    before = list(model.subgraphs[0].outputs)
    assert name_outputs(model) == 0
    assert list(model.subgraphs[0].outputs) == before


def test_a_result_that_nothing_leads_to_is_refused(lowered: Lowered) -> None:
    model: Any = tflite.read(lowered.path)
    model.subgraphs[0].outputs = model.subgraphs[0].outputs[:1]
    with pytest.raises(ValueError, match="the output 'next_state' of the signature"):
        name_outputs(model)
