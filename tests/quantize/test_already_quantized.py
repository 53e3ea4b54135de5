"""Models that came quantized go through as they are; those of integers, or with nothing to quantize, as float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgepack
from edgepack.quantize.base import CalibrationData, Quantizer
from edgepack.quantize.onnx_dynamic import OnnxDynamic
from edgepack.quantize.onnx_static import OnnxStatic
from edgepack.quantize.onnx_weights import OnnxWeights
from edgepack.toolchain.errors import TargetError, UsageError
from edgepack.toolchain.pipeline.as_written import came_quantized, run_as_written
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.quantized import QUANTIZED_NOTE
from edgepack.toolchain.results import Calibration

WIDTH = 96


def store(path: Path, nodes: list[onnx.NodeProto], dtype: int = TensorProto.FLOAT) -> Path:
    """A model from x [n, 96] to y, with two matrices to multiply by."""
    rng = np.random.default_rng(0)
    used = {name for node in nodes for name in node.input}
    weights = [
        numpy_helper.from_array((rng.normal(size=(WIDTH, WIDTH)) / 8).astype(np.float32), name)
        for name in ("w0", "w1")
        if name in used
    ]
    infos = [helper.make_tensor_value_info(name, dtype, ["n", WIDTH]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    path.parent.mkdir(exist_ok=True)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def products(folder: Path) -> Path:
    return store(
        folder / "net.onnx",
        [
            helper.make_node("MatMul", ["x", "w0"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("MatMul", ["b", "w1"], ["y"]),
        ],
    )


@pytest.fixture(params=[OnnxStatic, OnnxDynamic, OnnxWeights])
def quantized(request, tmp_path) -> Path:
    """A file that somebody quantized before it came to us."""
    feeds = [{"x": np.random.default_rng(i).normal(size=(6, WIDTH)).astype(np.float32)} for i in range(6)]
    facts = Calibration(kind="user", description="", samples=6, held_out=0)
    base = Lowered("net", "onnx", products(tmp_path / "float"), Signature((), ()))
    quantizer: Quantizer = request.param()
    made = quantizer.quantize(base, "int8", CalibrationData(facts, feeds, [], ""), tmp_path / "given")
    return made.path


def export(path: Path, out: Path, **settings: object) -> edgepack.Bundle:
    return edgepack.export(path, out=out, targets="cpu:onnxruntime", measure=False, check=False, **settings)


@pytest.mark.parametrize("precision", ["auto", "fp32", "as-given"])
def test_it_ships_in_its_own_precision(quantized, tmp_path, precision):
    bundle = export(quantized, tmp_path / "out", precision=precision)
    (artifact,) = bundle.artifacts
    assert artifact.precision == "as-given"
    assert artifact.parity.passed
    assert artifact.parity.gate == {"cosine": 0.999, "min_cosine": 0.99}
    assert came_quantized(bundle.file(artifact.files[0]))
    assert any(QUANTIZED_NOTE in warning for warning in bundle.manifest.warnings)
    feed = {"x": np.random.default_rng(9).normal(size=(3, WIDTH)).astype(np.float32)}
    session = onnxruntime.InferenceSession(bundle.file(artifact.files[0]))
    spec = Signature((), (TensorSpec("y", "float32", ("n", WIDTH)),))
    (expected,) = run_as_written(quantized, spec, [feed])
    np.testing.assert_allclose(session.run(None, feed)[0], expected["y"], atol=0.05)


@pytest.mark.parametrize("precision", ["int8-static", "int8-dynamic", "int4-weights"])
def test_another_precision_is_refused_in_one_paragraph(quantized, tmp_path, precision):
    with pytest.raises(TargetError, match="The model is quantized already: it has") as caught:
        export(quantized, tmp_path / "out", precision=precision)
    assert "--precision as-given" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_every_int8_form_is_refused_at_once(quantized, tmp_path):
    with pytest.raises(TargetError, match="builds no int8 of this model: the model is quantized already"):
        export(quantized, tmp_path / "out", precision="int8")


def test_its_gate_is_the_user_s_to_move(quantized, tmp_path):
    bundle = export(quantized, tmp_path / "out", gate={"cosine": 1.01})
    assert not bundle.artifacts
    assert [artifact.precision for artifact in bundle.rejected] == ["as-given"]
    assert bundle.failures[0].exit_code == 3


@pytest.mark.parametrize(
    ("op", "dtype", "reason"),
    [("Add", TensorProto.INT64, "no convolution"), ("Add", TensorProto.FLOAT, "no convolution")],
    ids=["integers", "nothing to quantize"],
)
def test_what_has_nothing_to_quantize_ships_as_it_is(tmp_path, op, dtype, reason):
    path = store(tmp_path / "model" / "net.onnx", [helper.make_node(op, ["x", "x"], ["y"])], dtype)
    bundle = export(path, tmp_path / "out")
    assert [artifact.precision for artifact in bundle.artifacts] == ["fp32"]
    told = {line.precision: line.why for line in bundle.manifest.candidates if line.outcome == "not-built"}
    assert all(reason in told[name] for name in ("int8-dynamic", "int8-static"))
    with pytest.raises(TargetError, match=f"builds no int8 of this model: {reason}"):
        export(path, tmp_path / "again", precision="int8")


def test_user_s_options_reach_the_quantizer(tmp_path):
    path = products(tmp_path / "float")
    rng = np.random.default_rng(5)
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(24, WIDTH)).astype(np.float32))
    settings = {"precision": "int8-static", "calibration": str(tmp_path / "data.npz")}
    bundle = export(path, tmp_path / "out", quantize={"ranges": "mse", "per_channel": False}, **settings)
    (artifact,) = bundle.artifacts
    assert any("per tensor, ranges by mse" in note for note in artifact.notes)
    assert "--quantize ranges=mse --quantize per_channel=false" in bundle.manifest.command
    with pytest.raises(UsageError, match=r"option of onnx-static 'range'.*--quantize, cpu:onnxruntime"):
        export(path, tmp_path / "again", quantize={"range": "mse"}, **settings)
    with pytest.raises(UsageError, match=r"'bits'.*int4-weights stands for"):
        export(path, tmp_path / "again", precision="int4-weights", quantize={"bits": 8})
