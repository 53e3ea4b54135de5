"""Sessions register the library by themselves, once, and say why when there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgepack.runtime import kernels
from edgepack.runtime.kernels import functions
from edgepack.runtime.sessions.onnxruntime import OnnxRuntimeSession, tensors
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.program import Signature, TensorSpec
from tests.runtime.kernels.layers import BinaryLayer

N, K = 24, 40
SIGNATURE = Signature(
    inputs=(TensorSpec("x", "float32", ("batch", K)),), outputs=(TensorSpec("y", "float32", ("batch", N)),)
)


@pytest.fixture
def layer() -> BinaryLayer:
    return BinaryLayer.random(np.random.default_rng(0), N, K)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, K)).astype(np.float32)


@pytest.fixture
def file(layer: BinaryLayer, tmp_path: Path) -> Path:
    path = tmp_path / "layer.onnx"
    onnx.save(layer.model(fallback=True), path)
    return path


def test_the_library_takes_over_from_the_function(library, file: Path, layer: BinaryLayer, x) -> None:
    session = OnnxRuntimeSession(file, SIGNATURE)
    assert [node.op for node in session.executed_nodes({"x": x})] == ["BinLinear"]
    np.testing.assert_array_equal(session.run({"x": x})["y"], layer.expected(x))
    np.testing.assert_array_equal(tensors(file, {"x": x})["y"], layer.expected(x))


@pytest.mark.parametrize("where", ["off", "/nowhere/lib.so", __file__, "libc"])
def test_the_function_serves_without_the_library(
    where: str, file: Path, layer: BinaryLayer, x, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = next(Path("/lib").glob("*/libc.so.6"), Path("/nowhere"))  # a library, and another one
    monkeypatch.setenv("EDGEPACK_KERNELS_LIBRARY", str(other) if where == "libc" else where)
    assert kernels.available() == ()
    assert kernels.why_not()
    session = OnnxRuntimeSession(file, SIGNATURE)
    operators = [node.op for node in session.executed_nodes({"x": x})]
    assert "BinLinear" not in operators
    assert "MatMulInteger" in " ".join(operators)
    np.testing.assert_array_equal(session.run({"x": x})["y"], layer.expected(x))


def test_without_both_the_error_says_what_is_missing(
    layer: BinaryLayer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bare.onnx"
    onnx.save(layer.model(), path)
    monkeypatch.setenv("EDGEPACK_KERNELS_LIBRARY", str(tmp_path / "none.so"))
    with pytest.raises(
        SourceError, match=r"native operators, and the native kernels were not built.*install cmake"
    ):
        OnnxRuntimeSession(path, SIGNATURE)


def test_registering_twice_is_registering_once(library, layer: BinaryLayer, x) -> None:
    options = onnxruntime.SessionOptions()
    assert kernels.register(options)
    assert kernels.register(options)
    assert kernels.register(onnxruntime.SessionOptions())
    for _ in range(2):  # an options object serves any number of sessions
        session = onnxruntime.InferenceSession(
            layer.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], layer.expected(x))


def test_a_session_outlives_its_options(library, layer: BinaryLayer, x) -> None:
    sessions = []
    for _ in range(20):
        options = onnxruntime.SessionOptions()
        kernels.register(options)
        sessions.append(
            onnxruntime.InferenceSession(
                layer.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        )
        del options
    for session in sessions:
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], layer.expected(x))


def test_models_without_native_operators_load_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(options: object) -> bool:
        raise AssertionError(options)

    monkeypatch.setattr(kernels, "register", never)
    graph = onnx.parser.parse_graph(
        "g (float[batch, 40] x) => (float[batch, 24] y) { y = Slice(x, b, e, a) }"
    )
    for name, value in (("b", [0]), ("e", [N]), ("a", [1])):
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    path = tmp_path / "plain.onnx"
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8), path
    )
    assert OnnxRuntimeSession(path, SIGNATURE).run({"x": np.ones((1, K), np.float32)})["y"].shape == (1, N)


def test_fallbacks_are_added_once(layer: BinaryLayer, x) -> None:
    model = ir.from_proto(layer.model())
    del model.graph.opset_imports[kernels.DOMAIN]
    assert functions.add_fallbacks(model) == 1
    assert functions.add_fallbacks(model) == 0
    content = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], layer.expected(x))


def test_a_model_without_native_operators_gets_no_fallback() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[1] x) => (float[1] y) { y = Neg(x) }'
    )
    assert functions.add_fallbacks(model) == 0
    assert kernels.DOMAIN not in model.graph.opset_imports


def test_the_command_says_which_kernels_run(library) -> None:
    command = [sys.executable, "-m", "edgepack.runtime.kernels"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"native kernels: {', '.join(kernels.available())}\n"
    assert kernels.available()[-1] == "portable"
