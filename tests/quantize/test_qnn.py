"""qnn-qdq: types and scales as the HTP wants them, held against the float model on the CPU, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgepack.quantize.base import quantizers
from edgepack.quantize.qnn import QnnQdq
from edgepack.toolchain import onnx_sessions
from edgepack.toolchain.errors import TargetError, UsageError
from edgepack.toolchain.program import Lowered
from tests.qnn_models import network, samples


def quantize(folder: Path, precision: str, **options: object) -> Lowered:
    return QnnQdq().quantize(network(folder), precision, samples(), folder / "quantized", **options)


def results(path: Path) -> np.ndarray:
    import onnxruntime

    session = onnx_sessions.opened(path, onnxruntime.SessionOptions())
    return np.concatenate([session.run(None, dict(feed))[0] for feed in samples(8).samples])


def zero_points(path: Path) -> dict[str, np.ndarray]:
    """Zero points by the tensor that they belong to."""
    model = onnx.load(path)
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    return {
        node.input[0]: values[node.input[2]]
        for node in model.graph.node
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"} and len(node.input) > 2
    }


@pytest.mark.parametrize(
    ("precision", "dtype", "error"), [("int8-static", "uint8", 0.2), ("int16x8-static", "uint16", 0.02)]
)
def test_types_and_error(precision: str, dtype: str, error: float, tmp_path: Path) -> None:
    made = quantize(tmp_path, precision)
    assert (made.precision, made.format, made.changed_nodes) == (precision, "onnx", 5)
    assert made.notes[0].startswith(
        f"by ONNX Runtime's configuration for QNN: activations {dtype}, weights int8"
    )
    points = zero_points(made.path)
    assert points["x"].dtype == dtype
    # per channel for convolutions, and for the product, which the HTP has not per channel, one scale
    assert {name: points[f"{name}_quantized"].shape for name in ("w1", "w2", "w3")} == {
        "w1": (8,), "w2": (16,), "w3": (),
    }  # fmt: skip
    assert all(points[f"{name}_quantized"].dtype == np.int8 for name in ("w1", "w2", "w3"))
    assert not any(points[f"{name}_quantized"].any() for name in ("w1", "w2", "w3"))
    expected = results(tmp_path / "main.onnx")
    worst = np.abs(results(made.path) - expected).max() / np.abs(expected).max()
    assert 0 < worst < error


def test_options(tmp_path: Path) -> None:
    made = quantize(tmp_path / "a", "int16x8-static", weights="uint8", keep=["product"])
    points = zero_points(made.path)
    assert points["w1_quantized"].dtype == np.uint8
    assert points["w1_quantized"].shape == ()
    assert "w3_quantized" not in points
    assert "1 nodes left float" in made.notes[0]
    with pytest.raises(UsageError, match="Scales per channel are for int8 weights"):
        quantize(tmp_path / "c", "int8-static", weights="uint8", per_channel=True)


def test_refusals(tmp_path: Path) -> None:
    lowered = network(tmp_path)
    with pytest.raises(UsageError, match="needs calibration data"):
        quantizers.get("qnn-qdq")().quantize(lowered, "int8-static", None, tmp_path / "q")
    made = quantize(tmp_path / "once", "int8-static")
    with pytest.raises(TargetError, match="quantized already"):
        QnnQdq().quantize(made, "int8-static", samples(), tmp_path / "twice")


def test_products_with_weights_of_16_bits(tmp_path: Path) -> None:
    made = quantize(tmp_path, "int16-static", weights="int16")
    points = zero_points(made.path)
    assert (points["x"].dtype, points["w3_quantized"].dtype) == (np.uint16, np.int16)
    assert points["w1_quantized"].dtype == np.uint8  # a convolution's stay narrow
    assert not points["w3_quantized"].any()  # symmetric
    with pytest.raises(UsageError, match="Weights of 16 bits are those of int16-static"):
        quantize(tmp_path / "narrow", "int8-static", weights="int16")
