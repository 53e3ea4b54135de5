"""The ONNX Runtime session on real files: results, settings, and every way to be given rubbish."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.runtime.sessions.base import sessions
from edgepack.runtime.sessions.onnxruntime import OnnxRuntimeSession, tensors
from edgepack.toolchain.errors import EdgepackError, SourceError, UsageError
from edgepack.toolchain.program import Signature, TensorSpec

Arrays = dict[str, np.ndarray]


def test_is_registered() -> None:
    assert sessions.get("onnxruntime") is OnnxRuntimeSession


def test_importing_the_module_imports_no_runtime() -> None:
    code = (
        "import sys; from edgepack.runtime.sessions.base import sessions; sessions.names();"
        "sys.exit(any(name in sys.modules for name in ('onnxruntime', 'numpy', 'torch', 'onnx')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("file", ["model_file", "external_file"])
def test_computes(
    file: str, request: pytest.FixtureRequest, signature: Signature, x, expected: Arrays
) -> None:
    with OnnxRuntimeSession(request.getfixturevalue(file), signature) as session:
        outputs = session.run({"x": x})
        other_size = session.run({"x": x[:1]})
    assert list(outputs) == ["y"]
    np.testing.assert_allclose(outputs["y"], expected["y"], atol=1e-5)
    np.testing.assert_allclose(other_size["y"], expected["y"][:1], atol=1e-5)


def test_a_closed_session_says_so(model_file: Path, signature: Signature, x) -> None:
    session = OnnxRuntimeSession(model_file, signature)
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.run({"x": x})


def test_settings_reach_the_runtime(model_file: Path, signature: Signature) -> None:
    for spinning, value in ((False, "0"), (True, "1")):
        session = OnnxRuntimeSession(model_file, signature, threads=2, spinning=spinning)
        options = session._session.get_session_options()
        assert options.intra_op_num_threads == 2
        assert options.inter_op_num_threads == 1
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == value
        assert session._session.get_providers() == ["CPUExecutionProvider"]
    assert OnnxRuntimeSession(model_file, signature).spinning is False


def test_tool_is_the_installed_version() -> None:
    from importlib.metadata import version

    assert OnnxRuntimeSession.tool().version == version("onnxruntime")


def test_a_float16_file_behind_a_float32_signature(
    tmp_path: Path, dense, signature, x, expected: Arrays
) -> None:
    path = tmp_path / "half.onnx"
    onnx.save(dense(TensorProto.FLOAT16), path)
    y = OnnxRuntimeSession(path, signature).run({"x": x})["y"]
    assert y.dtype == np.float32
    # Products of 256 terms near 16 in half precision: errors near 16 * 2^-11, and the softmax doubles them.
    np.testing.assert_allclose(y, expected["y"], atol=0.03)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: {}, ["'x' is missing", "x:float32[batch,256]"]),
        (lambda x: {"x": x, "mask": x}, ["no input 'mask'", "x:float32[batch,256]"]),
        (lambda x: {"x": x.astype(np.float64)}, ["'x'", "float32", "float64"]),
        (lambda x: {"x": x.astype(">f4")}, ["'x'", "float32", "foreign byte order"]),
        (lambda x: {"x": x[0]}, ["'x'", "2 dimensions", "[batch,256]", "[256]"]),
        (lambda x: {"x": x[:, :3]}, ["'x'", "256 long along axis 1", "[3,3]"]),
        (lambda x: {"x": x.tolist()}, ["'x'", "numpy array", "list"]),
    ],
)
def test_wrong_inputs(model_file: Path, signature: Signature, x, change, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        OnnxRuntimeSession(model_file, signature).run(change(x))
    for word in words:
        assert word in str(caught.value)


def test_named_dimensions_must_agree(tmp_path: Path) -> None:
    spec: list[str | int | None] = ["batch", 4]
    graph = helper.make_graph(
        [helper.make_node("Concat", ["a", "b"], ["y"], axis=1)],
        "two",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, spec) for name in "ab"],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
    )
    path = tmp_path / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    signature = Signature(
        tuple(TensorSpec(name, "float32", ("batch", 4)) for name in "ab"),
        (TensorSpec("y", "float32", ("batch", 8)),),
    )
    a = np.zeros((2, 4), np.float32)
    with pytest.raises(UsageError, match=r"'b' must be 2 long along axis 0 as in 'a' \(batch\)"):
        OnnxRuntimeSession(path, signature).run({"a": a, "b": a[:1]})


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("no model " * 99)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _missing(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _unknown_operator(path: Path) -> None:
    model = onnx.load(path)
    model.graph.node[1].op_type = "Frobnicate"
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("damage", [_empty, _text, _truncated, _missing, _folder, _unknown_operator])
def test_damaged_files(
    model_file: Path, signature: Signature, x, damage, capfd: pytest.CaptureFixture[str]
) -> None:
    damage(model_file)
    for attempt in (lambda: OnnxRuntimeSession(model_file, signature), lambda: tensors(model_file, {"x": x})):
        with pytest.raises(SourceError) as caught:
            attempt()
        message = str(caught.value)
        assert str(model_file) in message
        assert "ONNXRuntimeError" not in message
        assert ".cc:" not in message
        assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def _data_gone(folder: Path) -> None:
    (folder / "dense.data").unlink()


def _data_short(folder: Path) -> None:
    with (folder / "dense.data").open("r+b") as file:
        file.truncate(100)


def _data_elsewhere(folder: Path) -> None:
    shutil.move(folder / "dense.data", folder.parent / "dense.data")
    model = onnx.load(folder / "dense.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../dense.data"
    (folder / "dense.onnx").write_bytes(model.SerializeToString())


@pytest.mark.parametrize("damage", [_data_gone, _data_short, _data_elsewhere])
def test_damaged_external_data(external_file: Path, signature: Signature, x, damage) -> None:
    damage(external_file.parent)
    with pytest.raises(SourceError, match=r"dense\.onnx.*external data|External"):
        OnnxRuntimeSession(external_file, signature)
    with pytest.raises(SourceError):
        tensors(external_file, {"x": x})


def test_a_signature_of_another_model(model_file: Path, signature: Signature) -> None:
    for other in (
        Signature((TensorSpec("ids", "int64", ("batch", 4)),), signature.outputs),
        Signature(signature.inputs, (TensorSpec("logits", "float32", ("batch", 2)),)),
    ):
        with pytest.raises(SourceError, match="do not belong together"):
            OnnxRuntimeSession(model_file, other)


def test_a_scalar_of_numpys_is_an_array_without_dimensions(tmp_path: Path) -> None:
    """What indexing an array gives has a dtype and a shape, and the runtime alone would not take it."""
    path = tmp_path / "scalar.onnx"
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 9, opset_import: ["": 18]> g (float x) => (float y) { y = Neg(x) }'
        ),
        path,
    )
    spec = TensorSpec("x", "float32", ())
    with OnnxRuntimeSession(path, Signature((spec,), (TensorSpec("y", "float32", ()),))) as session:
        assert session.run({"x": np.float32(2)})["y"] == -2  # type: ignore[dict-item]


def test_the_runtimes_words_hold_no_places_in_its_source(tmp_path: Path) -> None:
    text = (
        '<ir_version: 9, opset_import: ["": 18]> g (float[N] x, float[N] y) => (float[N] z) { z = Mod(x, y) }'
    )
    path = tmp_path / "mod.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    specs = tuple(TensorSpec(name, "float32", ("N",)) for name in ("x", "y"))
    with OnnxRuntimeSession(path, Signature(specs, (TensorSpec("z", "float32", ("N",)),))) as session:
        ones = np.ones(2, np.float32)
        with pytest.raises(SourceError, match="fmod attribute must be true") as caught:
            session.run({"x": ones, "y": ones})
    assert ".cc" not in str(caught.value)
    assert "onnxruntime::" not in str(caught.value)


def test_a_size_that_the_export_fixed(tmp_path: Path) -> None:
    """The signature promises any batch, the graph reshapes to a batch of 2."""
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"], name="fixed")],
        "fixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.array([2, 4], np.int64), "shape")],
    )
    path = tmp_path / "fixed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    spec = ("batch", 4)
    session = OnnxRuntimeSession(
        path, Signature((TensorSpec("x", "float32", spec),), (TensorSpec("y", "float32", spec),))
    )
    assert session.run({"x": np.ones((2, 4), np.float32)})["y"].shape == (2, 4)
    with pytest.raises(SourceError, match=r"x\[3,4\].*fixed"):
        session.run({"x": np.ones((3, 4), np.float32)})


@pytest.mark.parametrize("file", ["model_file", "external_file"])
def test_tensors(file: str, request: pytest.FixtureRequest, x, expected: Arrays) -> None:
    path = request.getfixturevalue(file)
    before = {p: p.read_bytes() for p in path.parent.iterdir() if p.is_file()}
    values = tensors(path, {"x": x})
    assert list(values) == ["product", "positive", "y"]
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-4)
    assert list(tensors(path, {"x": x}, ["positive"])) == ["positive"]
    assert list(OnnxRuntimeSession.tensors(path, {"x": x})) == list(values)
    assert {p: p.read_bytes() for p in path.parent.iterdir() if p.is_file()} == before


def test_tensors_by_an_unknown_name(model_file: Path, x) -> None:
    with pytest.raises(UsageError, match=r"'positve'.*nearest: positive"):
        tensors(model_file, {"x": x}, ["positve"])


def test_tensors_refuse_wrong_inputs(model_file: Path, x) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: tensors(model_file, {}),
        lambda: tensors(model_file, {"x": x[:, :3]}),
    ]
    for attempt in attempts:
        with pytest.raises(EdgepackError):
            attempt()
