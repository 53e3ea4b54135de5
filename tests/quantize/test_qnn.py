"""qnn-qdq: types and scales as the HTP wants them, held against the float model on the CPU, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from edgepack.quantize._onnx_bounds import with_extent
from edgepack.quantize._onnx_headroom import with_headroom
from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.quantize.qnn import QnnQdq
from edgepack.toolchain import onnx_sessions
from edgepack.toolchain.errors import TargetError, UsageError
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from tests.qnn_models import network, samples


def quantize(folder: Path, precision: str, **options: object) -> Lowered:
    return QnnQdq().quantize(network(folder), precision, samples(), folder / "quantized", **options)


def results(path: Path) -> np.ndarray:
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


def written(text: str, folder: Path, precision: str, *, seed: int = 3) -> tuple[onnx.ModelProto, Path]:
    """A model in ONNX's text form, quantized with random samples."""
    proto = onnx.parser.parse_model('<ir_version: 9, opset_import: ["": 20]>\n' + text)
    onnx.save(proto, folder / "main.onnx")
    shapes = {
        one.name: tuple(dim.dim_value for dim in one.type.tensor_type.shape.dim) for one in proto.graph.input
    }
    face = Signature(
        tuple(TensorSpec(name, "float32", shape) for name, shape in shapes.items()),
        (TensorSpec("y", "float32", ()),),
    )
    rng = np.random.default_rng(seed)
    feeds = [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(4)
    ]
    data = CalibrationData(samples().facts, feeds, feeds, "")
    lowered = Lowered("main", "onnx", folder / "main.onnx", face)
    path = QnnQdq().quantize(lowered, precision, data, folder / "quantized").path
    return onnx.load(path), path


@pytest.mark.parametrize("precision", ["int8-static", "int16x8-static"])
def test_a_scatter_has_one_range_for_what_it_moves(precision: str, tmp_path: Path) -> None:
    model, _ = written(
        """g (float[1,2,4] u, float[1,2,8] v) => (float[1,8,4] y, float[1,2,4] z)
        <float[1,8,4] zeros = {0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0},
         int64[1,2,4] low = {0,0,0,0,1,1,1,1}, int64[1,2,4] high = {6,6,6,6,7,7,7,7}, float[1] three = {3}>
        { t = Mul(v, three)  w, z = Split<axis = 2, num_outputs = 2>(t)
          a = ScatterElements<axis = 1>(zeros, low, u)  y = ScatterElements<axis = 1>(a, high, w)
        }""",
        tmp_path,
        precision,
    )
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}
    seen = set()
    for node in model.graph.node:
        if node.op_type != "ScatterElements":
            continue
        for name in (node.input[0], node.input[2]):
            pair = made[name]
            assert pair.op_type == "DequantizeLinear"
            seen.add((values[pair.input[1]].item(), values[pair.input[2]].item()))
        (reader,) = (one for one in model.graph.node if node.output[0] in one.input)
        seen.add((values[reader.input[1]].item(), values[reader.input[2]].item()))
    (whole,) = (one for one in model.graph.node if one.op_type == "QuantizeLinear" and one.input[0] == "t")
    seen.add((values[whole.input[1]].item(), values[whole.input[2]].item()))  # in front of the split
    assert len(seen) == 1


def test_a_shared_bias_is_copied_under_a_free_name(tmp_path: Path) -> None:
    # ONNX Runtime's quantizer would call the second bias "b1", which is a product's result
    model, path = written(
        """g (float[1,2,4] x) => (float[1,2,4] y)
        <float[2] s = {1,2}, float[2] b = {0.5,-0.5}, float[4,4] b0 = {1,2,3,4,2,1,0,1,3,1,1,2,1,0,2,1}>
        { b1 = MatMul(x, b0)  m = InstanceNormalization(b1, s, b)  y = InstanceNormalization(m, s, b) }""",
        tmp_path,
        "int8-static",
    )
    outputs = [name for node in model.graph.node for name in node.output]
    assert len(outputs) == len(set(outputs))
    results = onnx_sessions.opened(path, onnxruntime.SessionOptions()).run(
        None, {"x": np.ones((1, 2, 4), np.float32)}
    )
    assert results[0].shape == (1, 2, 4)


def test_scales_of_layer_norms_are_unsigned(tmp_path: Path) -> None:
    text = """g (float[2,4] x) => (float[2,4] y) <float[4] s = {1,2,0.5,1}, float[4] b = {0,1,2,3}>
        { y = LayerNormalization(x, s, b) }"""
    written(text, tmp_path, "int8-static")
    assert zero_points(tmp_path / "quantized" / "main.onnx")["s_quantized"].dtype == np.uint8


def test_16_bits_have_headroom_for_what_the_samples_did_not_show() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["": 20]>
        g (float[1,4] x) => (float[1,4] y) <float least = {0.01}, float three = {3}, float one = {1}>
        { a = Mul(x, three)  s = Mul(a, a)  m = ReduceMean(s)  n = Add(m, least)  o = Sqrt(n)  p = Reciprocal(o)
          e = Abs(a)  r = Sqrt(e)  i = Div(one, r)  h = Mul(a, i)  f = Mul(h, p)  y = Add(a, f) }"""
    )
    model.graph.node[8].output[0] = model.graph.node[9].input[1] = "norm/first"
    names = [name for node in model.graph.node for name in node.output]
    seen = {name: (np.float32(-1), np.float32(3)) for name in ["x", *names]}
    made = with_headroom(model, seen)
    # inputs of the graph and a norm's squares up to 1/sqrt keep what was seen; a first guess gets little
    kept = dict.fromkeys(("x", "s", "m", "n", "o", "p"), 1.0)
    factors = {name: kept.get(name, 1.5 if name == "norm/first" else 2.0) for name in seen}
    assert {name: (low, high) for name, (low, high) in made.items()} == {
        name: (-factor, 3 * factor) for name, factor in factors.items()
    }
    model.graph.node[8].output[0] = model.graph.node[9].input[1] = "i"
    assert with_headroom(model, {"i": (np.float32(0), np.float32(1))})["i"] == (0, 4)


def test_a_clip_has_its_own_ends() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["": 20]>
        g (float[1,4] x) => (float[1,4] y) <float least = {-1.5}, float six = {6}>
        { a = Clip(x, least, six)  b = Clip(x, , six)  y = Add(a, b) }"""
    )
    seen = (np.float32(-1), np.float32(4))
    assert with_headroom(model, {"a": seen, "b": seen}) == {"a": (-1.5, 6), "b": (-2, 6)}


def test_what_is_bounded_keeps_an_extent() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["": 20]>
        g (float[1,4] x) => (float[1,4] y) <float none = {0}>
        { a = Relu(x)  b = Min(x, none)  c = Max(a, b)  y = Add(c, a) }"""
    )
    flat, wide = (np.float32(0), np.float32(0)), (np.float32(-16), np.float32(0))
    made = with_extent(model, {"x": wide, "a": flat, "b": wide, "c": flat, "y": flat}, wide=True)
    assert made == {"x": wide, "a": (0, 1), "b": wide, "c": flat, "y": flat}
    assert with_extent(model, {"x": (np.float32(0), np.float32(32)), "b": flat}, wide=True)["b"] == (-2, 0)
    bounded = (np.float32(0), np.float32(1))
    assert with_extent(model, {"x": wide, "a": bounded}, wide=False)["a"] == bounded
