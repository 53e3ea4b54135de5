"""rknn: what is handed to the toolkit, and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgepack.quantize.base import quantizers
from edgepack.quantize.rknn import Rknn
from edgepack.toolchain import onnx_sessions
from edgepack.toolchain.errors import TargetError, UnknownNameError, UsageError
from edgepack.toolchain.program import Lowered
from tests.qnn_models import network, samples


def result(path: Path) -> np.ndarray:
    import onnxruntime

    session = onnx_sessions.opened(path, onnxruntime.SessionOptions())
    return np.concatenate([session.run(None, dict(feed))[0] for feed in samples(4).samples])


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("int8-static", "w8a8"), ("int16-static", "w16a16i_dfp")],
)
def test_model_samples_and_settings(precision: str, dtype: str, tmp_path: Path) -> None:
    base = network(tmp_path)
    made = Rknn().quantize(base, precision, samples(), tmp_path / "q", algorithm="mmse")
    assert (made.precision, made.changed_nodes) == (precision, 3)
    assert np.array_equal(result(made.path), result(base.path))  # nothing is rounded yet
    assert onnx.load(made.path).graph.input[0].name == "x"
    with np.load(made.path.with_name("samples.npz")) as arrays:
        assert np.array_equal(arrays["arr_0"], np.stack([feed["x"] for feed in samples().samples]))
    config = json.loads(made.path.with_name("config.json").read_text())
    assert config == {
        "dtype": dtype,
        "config": {"quantized_algorithm": "mmse", "quantized_method": "channel"},
    }
    assert f"as {dtype}, weights per channel, ranges by mmse over 16 samples" in made.notes[0]


def test_refusals(tmp_path: Path) -> None:
    base = network(tmp_path)
    with pytest.raises(UsageError, match="needs calibration data"):
        Rknn().quantize(base, "int8-static", None, tmp_path / "q")
    with pytest.raises(UnknownNameError, match="mmze"):
        Rknn().quantize(base, "int8-static", samples(), tmp_path / "q", algorithm="mmze")
    qdq = quantizers.get("qnn-qdq")()
    given: Lowered = qdq.quantize(base, "int8-static", samples(), tmp_path / "qdq")
    with pytest.raises(TargetError, match="quantized"):
        Rknn().quantize(replace(given, precision="fp32"), "int8-static", samples(), tmp_path / "q")


def test_a_model_without_products(tmp_path: Path) -> None:
    base = network(tmp_path)
    model = onnx.load(base.path)
    del model.graph.node[:]
    model.graph.node.append(onnx.helper.make_node("Relu", ["x"], ["y"]))
    model.graph.output[0].type.tensor_type.shape.CopyFrom(model.graph.input[0].type.tensor_type.shape)
    onnx.save(model, base.path)
    with pytest.raises(TargetError, match="no convolution and no matrix product"):
        Rknn().quantize(base, "int8-static", samples(), tmp_path / "q")


def test_convolutions_are_not_smoothed(tmp_path: Path) -> None:
    base = network(tmp_path)
    model = onnx.load(base.path)
    model.graph.node.pop()
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("f", onnx.TensorProto.FLOAT, [1, 16]))
    onnx.save(model, base.path)
    with pytest.raises(TargetError, match="no matrix product with a large constant"):
        Rknn().quantize(base, "int8-static", samples(), tmp_path / "q", smooth=0.5)
