"""Clips whose bounds no range of integers says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgepack.quantize._onnx_clips import clips_that_stay
from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.toolchain import onnx_sessions
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from tests.qnn_models import samples

HEAD = '<ir_version: 9, opset_import: ["": 20]>\n'
ENDS = "<float below = {-1.5}, float over = {-0.5}, float one = {1}, float six = {6}, float none = {0}>"


@pytest.mark.parametrize(
    ("clip", "ops", "between"),
    [
        ("y = Clip(x, one)", ["Max"], None),
        ("y = Clip(x, one, six)", ["Max", "Min"], (1, 8)),
        ("y = Clip(x, , over)", ["Min"], None),
        ("y = Clip(x, below, over)", ["Max", "Min"], (-1.5, 8)),
        ("y = Clip(x, none, six)", ["Clip"], None),
        ("y = Clip(x, below, one)", ["Clip"], None),
        ("y = Clip(x, e)", ["Clip"], None),
    ],
)
def test_which_become_other_operators(clip: str, ops: list[str], between: tuple[float, float] | None) -> None:
    model = onnx.parser.parse_model(f"{HEAD}g (float[4] x, float e) => (float[4] y) {ENDS} {{ {clip} }}")
    model.graph.node[0].name = "bound"
    feeds = {"x": np.array([-3, -1, 0.5, 8], np.float32), "e": np.zeros((), np.float32)}
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)[0]
    made = clips_that_stay(model, {"x": (np.float32(-3), np.float32(8))})
    assert [node.op_type for node in model.graph.node] == ops
    assert model.graph.node[-1].name == "bound", "whoever keeps it by its name keeps it"
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(
        onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)[0], expected
    )
    assert set(made) == {"x"} | ({model.graph.node[0].output[0]} if between else set())
    if between:
        assert made[model.graph.node[0].output[0]] == between


@pytest.mark.parametrize(
    ("quantizer", "options"),
    [("onnx-static", {"operators": ("Clip", "MatMul")}), ("qnn-qdq", {})],
)
def test_a_quotient_by_a_count_of_at_least_one(
    quantizer: str, options: dict[str, object], tmp_path: Path
) -> None:
    """Where nothing was counted, the sum of it is zero, and so is its mean."""
    text = f"""{HEAD}g (float[1,8] x, float[1,8] real) => (float[1,4] y) <float one = {{1}}, int64[1] axis = {{1}}>
        {{ n = ReduceSum<keepdims = 1>(real, axis)  c = Clip(n, one)  m = Mul(x, real)  d = Div(m, c)
           y = MatMul(d, w) }}"""
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    weight = random.standard_normal((8, 4)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(model, tmp_path / "main.onnx")
    feeds = [
        {
            "x": random.standard_normal((1, 8)).astype(np.float32),
            "real": (np.arange(8) < count).astype(np.float32)[None],
        }
        for count in (0, 1, 3, 8)
    ]
    face = Signature(
        (TensorSpec("x", "float32", (1, 8)), TensorSpec("real", "float32", (1, 8))),
        (TensorSpec("y", "float32", (1, 4)),),
    )
    data = CalibrationData(samples().facts, feeds, feeds, "")
    lowered = Lowered("main", "onnx", tmp_path / "main.onnx", face)
    made = quantizers.get(quantizer)().quantize(
        lowered, "int8-static", data, tmp_path / "q", ranges="min-max", **options
    )
    session = onnx_sessions.opened(made.path, onnxruntime.SessionOptions())
    for feed in feeds:
        mean = feed["x"] * feed["real"] / max(1, feed["real"].sum())
        np.testing.assert_allclose(session.run(None, feed)[0], mean @ weight, atol=0.15)
