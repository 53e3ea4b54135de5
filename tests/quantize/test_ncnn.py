"""ncnn's networks read, written and quantized; where ncnn and pnnx are installed, run by ncnn."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.quantize.ncnn import STATIC
from edgepack.runtime.sessions.ncnn import NcnnSession
from edgepack.targets.base import Context
from edgepack.targets.mobile.ncnn import Ncnn
from edgepack.toolchain.errors import TargetError, UsageError
from edgepack.toolchain.program import Lowered, Part, Program, Signature, TensorSpec
from edgepack.toolchain.results import Calibration
from edgepack.toolchain.vendors import ncnn
from edgepack.toolchain.vendors.ncnn_network import Network, read_layers

needs_ncnn = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ncnn", "pnnx")),
    reason="the extra ncnn is not installed",
)
SIGNATURE = Signature(
    (TensorSpec("image", "float32", (1, 3, 12, 12)), TensorSpec("rows", "float32", (1, 6, 32))),
    (TensorSpec("scores", "float32", (1, 10)), TensorSpec("out", "float32", (1, 6, 16))),
)
CONTEXT = Context(source={}, sizes={}, time_limit_s=120)
NET = """
    a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(image, first, first_bias)
    low = Constant<value_float = 0.0>()
    six = Constant<value_float = 6.0>()
    b = Clip(a, low, six)
    c = Conv<pads = [1, 1, 1, 1], group = 16>(b, depth, depth_bias)
    d = Relu(c)
    e = Conv(d, point)
    f = Add(e, b)
    pooled = GlobalAveragePool(f)
    flat = Flatten(pooled)
    scores = Gemm<transB = 1>(flat, head, head_bias)
    hidden = MatMul(rows, up)
    biased = Add(hidden, up_bias)
    g = Gelu(biased)
    out = MatMul(g, down)
"""
SHAPES = {
    "first": (16, 3, 3, 3),
    "first_bias": (16,),
    "depth": (16, 1, 3, 3),
    "depth_bias": (16,),
    "point": (16, 16, 1, 1),
    "head": (10, 16),
    "head_bias": (10,),
    "up": (32, 64),
    "up_bias": (64,),
    "down": (64, 16),
}


def samples(count: int, seed: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [
        {spec.name: random.standard_normal(spec.shape).astype("f4") for spec in SIGNATURE.inputs}
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Lowered:
    folder = tmp_path_factory.mktemp("ncnn")
    ins, outs = (
        ", ".join(f"float[{','.join(map(str, s.shape))}] {s.name}" for s in side)
        for side in (SIGNATURE.inputs, SIGNATURE.outputs)
    )
    proto = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 20]> g ({ins}) => ({outs}) {{{NET}}}'
    )
    random = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        values = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        if name == "up":
            values[:, 3] *= 40  # one channel that would take the whole range
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values.astype("f4"), name))
    onnx.save(onnx.shape_inference.infer_shapes(proto), folder / "main.onnx")
    part = Part("main", folder / "main.onnx", SIGNATURE)
    return Ncnn().lower(Program({"main": part}), part, CONTEXT, folder / "lowered")


def outputs(path: Path, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with NcnnSession(path, SIGNATURE) as session:
        return session.run(feed)


def calibration() -> CalibrationData:
    facts = Calibration(kind="user", description="random", samples=8, held_out=0)
    return CalibrationData(facts, samples(8, 3), [], "x")


@needs_ncnn
def test_a_network_is_written_as_it_was_read(lowered: Lowered, tmp_path: Path) -> None:
    network = Network.read(lowered.path)
    network.write(tmp_path / "main.param")
    assert (tmp_path / "main.bin").read_bytes() == lowered.path.with_suffix(".bin").read_bytes()
    again = Network.read(tmp_path / "main.param")
    assert [layer.line() for layer in again] == [layer.line() for layer in network]


@needs_ncnn
@pytest.mark.parametrize(
    ("quantizer", "precision", "options", "layers", "error", "smaller"),
    [
        ("ncnn-static", "int8-static", {}, 4, {"scores": 0.06, "out": 0}, 0.9),
        ("ncnn-static", "int8-static", {"method": "extremes"}, 4, {"scores": 0.06, "out": 0}, 0.9),
        ("ncnn-dynamic", "int8-dynamic", {}, 2, {"scores": 0, "out": 0.03}, 0.7),
        ("ncnn-float16", "fp16-weights", {}, 6, {"scores": 2e-3, "out": 2e-3}, 0.6),
    ],
)
def test_quantizes(
    quantizer: str,
    precision: str,
    options: dict[str, str],
    layers: int,
    error: dict[str, float],
    smaller: float,
    lowered: Lowered,
    tmp_path: Path,
) -> None:
    data = calibration()
    made = quantizers.get(quantizer)().quantize(lowered, precision, data, tmp_path / "q", **options)
    assert (made.changed_nodes, made.precision) == (layers, precision)
    compiled = Ncnn().compile(made, CONTEXT, tmp_path / "out")
    before, after = (path.with_suffix(".bin").stat().st_size for path in (lowered.path, made.path))
    assert after < smaller * before
    for feed in samples(2, 9):
        want = outputs(lowered.path, feed)
        got = outputs(tmp_path / "out" / compiled.run_file, feed)
        for name, bound in error.items():
            distance = np.linalg.norm(got[name] - want[name]) / np.linalg.norm(want[name])
            assert distance <= bound
            assert (distance > 0) == (bound > 0)  # it does compute with the rounded numbers


@needs_ncnn
def test_convolutions_hand_integers_on(lowered: Lowered, tmp_path: Path) -> None:
    made = quantizers.get("ncnn-static")().quantize(lowered, "int8-static", calibration(), tmp_path)
    terms = [(layer.kind, layer.number(8)) for layer in read_layers(made.path) if layer.kind in STATIC]
    assert terms == [
        ("Convolution", 1),  # two layers read what it gives
        ("ConvolutionDepthWise", 101),
        ("Convolution", 1),
        ("InnerProduct", 1),
    ]
    assert "1 of 4 int8 layers hand their results on as int8" in made.notes[-1]


@needs_ncnn
def test_what_cannot_be_quantized(lowered: Lowered, tmp_path: Path) -> None:
    static = quantizers.get("ncnn-static")()
    with pytest.raises(UsageError, match="needs calibration data"):
        static.quantize(lowered, "int8-static", None, tmp_path)
    made = static.quantize(lowered, "int8-static", calibration(), tmp_path / "once")
    with pytest.raises(TargetError, match="weights that are not float32"):
        static.quantize(made, "int8-static", calibration(), tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


def test_unknown_weights_and_nothing_to_do(tmp_path: Path) -> None:
    path = tmp_path / "main.param"
    path.write_text("7767517\n2 2\nInput in0 0 1 in0\nLSTM lstm 1 1 in0 out0 0=4 1=64\n")
    (tmp_path / "main.json").write_text("{}")
    (tmp_path / "main.bin").write_bytes(bytes(256))
    lowered = Lowered("main", ncnn.FORMAT, path, SIGNATURE)
    with pytest.raises(TargetError, match=r"take 256 bytes, and 0 are accounted for \(Input, LSTM\)"):
        quantizers.get("ncnn-dynamic")().quantize(lowered, "int8-dynamic", None, tmp_path / "q")
    path.write_text("7767517\n2 2\nInput in0 0 1 in0\nReLU relu 1 1 in0 out0\n")
    (tmp_path / "main.bin").write_bytes(b"")
    with pytest.raises(TargetError, match="changed no layer"):
        quantizers.get("ncnn-dynamic")().quantize(lowered, "int8-dynamic", None, tmp_path / "q")
    assert not (tmp_path / "q").exists()
