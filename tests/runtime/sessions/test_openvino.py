"""The OpenVINO session on real files: results, pinned precision, silence, and every way to be given rubbish."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgepack.runtime.sessions.base import sessions
from edgepack.runtime.sessions.openvino import OpenVinoSession
from edgepack.toolchain.errors import SourceError, UsageError
from edgepack.toolchain.program import Signature, TensorSpec
from edgepack.toolchain.vendors.openvino_ir import import_openvino, note_settings, settings

Arrays = dict[str, np.ndarray]


def write_ir(onnx_file: Path, path: Path, inference: str | None = None) -> Path:
    """The IR of an ONNX file, with or without settings."""
    openvino = import_openvino()
    model = openvino.Core().read_model(onnx_file)
    if inference:
        note_settings(model, settings(inference))
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


def has_bf16() -> bool:
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_is_registered_and_imports_no_runtime() -> None:
    code = (
        "import sys; from edgepack.runtime.sessions.base import sessions; sessions.get('openvino');"
        "sys.exit(any(name in sys.modules for name in ('openvino', 'openvino_telemetry', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert sessions.get("openvino") is OpenVinoSession


@pytest.mark.parametrize("file", ["model_file", "external_file"])
def test_computes_onnx_in_float32(
    file: str, request: pytest.FixtureRequest, signature: Signature, x, expected: Arrays
) -> None:
    with OpenVinoSession(request.getfixturevalue(file), signature) as session:
        outputs = session.run({"x": x})
        other_size = session.run({"x": x[:1]})
    assert list(outputs) == ["y"]
    np.testing.assert_allclose(outputs["y"], expected["y"], atol=1e-5)
    np.testing.assert_allclose(other_size["y"], expected["y"][:1], atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*which this processor does not have:RuntimeWarning")
def test_the_file_says_the_precision(
    model_file: Path, tmp_path: Path, signature: Signature, x, expected: Arrays
) -> None:
    """Without a word of the file's it is float32, which is not OpenVINO's own default."""
    errors = {}
    for inference in (None, "f32", "bf16"):
        path = write_ir(model_file, tmp_path / f"{inference}.xml", inference)
        with OpenVinoSession(path, signature) as session:
            errors[inference] = float(np.abs(session.run({"x": x})["y"] - expected["y"]).max())
    assert errors[None] == errors["f32"] < 1e-5
    if has_bf16():
        assert 1e-5 < errors["bf16"] < 0.2


def test_a_processor_without_bfloat16_is_told_of(
    model_file: Path, signature: Signature, tmp_path, monkeypatch
) -> None:
    openvino = import_openvino()

    class Older:
        """The runtime's core on a processor that has float32 alone."""

        def __init__(self) -> None:
            self._core = openvino.Core()

        def __getattr__(self, name: str) -> object:
            return getattr(self._core, name)

        def get_property(self, *_: str) -> list[str]:
            return ["FP32"]

    monkeypatch.setattr(
        "edgepack.runtime.sessions.openvino.import_openvino", lambda: SimpleNamespace(Core=Older)
    )
    with pytest.warns(RuntimeWarning, match="which this processor does not have"):
        OpenVinoSession(write_ir(model_file, tmp_path / "half.xml", "bf16"), signature).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OpenVinoSession(write_ir(model_file, tmp_path / "plain.xml", "f32"), signature).close()


def test_settings_reach_the_runtime(model_file: Path, signature: Signature) -> None:
    with OpenVinoSession(model_file, signature, threads=1) as session:
        compiled = session._request.get_compiled_model()
        found = {
            name: str(compiled.get_property(name))
            for name in ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "DYNAMIC_QUANTIZATION_GROUP_SIZE")
        }
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    assert found == {"INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    assert precision == "f32"


def test_results_are_the_callers_own(model_file: Path, signature: Signature, x, expected: Arrays) -> None:
    """A later call changes neither inputs nor outputs of an earlier one."""
    before = x.copy()
    with OpenVinoSession(model_file, signature) as session:
        first = session.run({"x": x})["y"]
        session.run({"x": -x})
    np.testing.assert_array_equal(x, before)
    np.testing.assert_allclose(first, expected["y"], atol=1e-5)


def test_profile_names_the_kernels(model_file: Path, signature: Signature, x) -> None:
    with OpenVinoSession(model_file, signature) as session:
        profile = session.profile({"x": x}, runs=3)
        with pytest.raises(UsageError, match="at least one"):
            session.profile({"x": x}, runs=0)
    product = next(row for row in profile.operators if row.op.startswith(("FullyConnected", "MatMul")))
    assert product.op.endswith("_f32)")
    assert product.calls == 1
    assert sum(row.share for row in profile.operators) == pytest.approx(1)
    assert all(row.time_ms >= 0 for row in profile.operators)


@pytest.mark.parametrize("form", ["onnx", "ir"])
def test_tensors_names_every_result(form, model_file: Path, tmp_path: Path, x, expected: Arrays) -> None:
    path = model_file if form == "onnx" else write_ir(model_file, tmp_path / "m.xml")
    found = OpenVinoSession.tensors(path, {"x": x})
    assert list(found) == ["product", "positive", "y"]
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-4)


def test_states_that_grow_from_nothing(tmp_path: Path) -> None:
    """A cache is empty at first: a dimension of 0 goes in and comes out longer."""
    graph = helper.make_graph(
        [helper.make_node("Concat", ["past", "x"], ["present"], axis=1)],
        "cache",
        [
            helper.make_tensor_value_info("past", TensorProto.FLOAT, ["batch", "past", 4]),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "step", 4]),
        ],
        [helper.make_tensor_value_info("present", TensorProto.FLOAT, ["batch", "past+step", 4])],
    )
    path = tmp_path / "cache.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    signature = Signature(
        (
            TensorSpec("past", "float32", ("batch", "past", 4)),
            TensorSpec("x", "float32", ("batch", "step", 4)),
        ),
        (TensorSpec("present", "float32", ("batch", "past+step", 4)),),
    )
    x = np.arange(8, dtype=np.float32).reshape(1, 2, 4)
    with OpenVinoSession(path, signature) as session:
        first = session.run({"past": np.zeros((1, 0, 4), np.float32), "x": x})["present"]
        second = session.run({"past": first, "x": x})["present"]
    np.testing.assert_array_equal(first, x)
    np.testing.assert_array_equal(second, np.concatenate([x, x], 1))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "'x' is missing"),
        ({"x": np.zeros((3, 256))}, "must be float32"),
        ({"x": np.zeros((3, 255), np.float32)}, "must be 256 long along axis 1"),
        ({"x": np.zeros((3, 256), np.float32), "z": np.zeros(1)}, "no input 'z'"),
    ],
)
def test_bad_inputs(model_file: Path, signature: Signature, inputs: Arrays, message: str) -> None:
    with OpenVinoSession(model_file, signature) as session, pytest.raises(UsageError, match=message):
        session.run(inputs)


def test_a_closed_session_says_so(model_file: Path, signature: Signature, x) -> None:
    session = OpenVinoSession(model_file, signature)
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.run({"x": x})


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def weightless(path: Path) -> None:
    path.with_suffix(".bin").unlink()


def short_weights(path: Path) -> None:
    file = path.with_suffix(".bin")
    file.write_bytes(file.read_bytes()[:1000])


@pytest.mark.parametrize("harm", [truncated, weightless, short_weights, Path.unlink])
def test_a_broken_file(
    harm: Callable[[Path], None], model_file: Path, tmp_path: Path, signature: Signature, capfd
) -> None:
    path = write_ir(model_file, tmp_path / "broken.xml")
    harm(path)
    with pytest.raises(SourceError) as caught:
        OpenVinoSession(path, signature)
    assert "broken.xml" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_signature_that_is_not_the_files(model_file: Path, signature: Signature) -> None:
    with pytest.raises(SourceError, match="outputs y, and its signature says x and z"):
        OpenVinoSession(model_file, Signature(signature.inputs, (TensorSpec("z", "float32", (1,)),)))
    with pytest.raises(SourceError, match="inputs x"):
        OpenVinoSession(model_file, Signature((TensorSpec("w", "float32", (1,)),), signature.outputs))


WATCHED = """
import socket, sys, threading
from pathlib import Path

def no(*args, **kwargs):
    raise SystemExit("a socket was opened")

socket.socket.__init__ = no
socket.create_connection = socket.getaddrinfo = no
started = []
start = threading.Thread.start
threading.Thread.start = lambda self: (started.append(self.name), start(self))[1]
import multiprocessing.process
multiprocessing.process.BaseProcess.start = no

import numpy as np
from edgepack.runtime.sessions.openvino import OpenVinoSession
from edgepack.toolchain.program import Signature, TensorSpec
signature = Signature((TensorSpec("x", "float32", ("batch", 256)),), (TensorSpec("y", "float32", ("batch", 512)),))
with OpenVinoSession(Path(sys.argv[1]), signature) as session:
    session.run({"x": np.zeros((1, 256), np.float32)})
    session.profile({"x": np.zeros((1, 256), np.float32)}, runs=1)
import openvino.tools.ovc.telemetry_utils as utils
assert utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub", utils.tm
assert started == [], started
assert not any(name.startswith("openvino_telemetry") for name in sys.modules)
"""


def test_nothing_is_reported(model_file: Path, tmp_path: Path) -> None:
    """Inference opens no socket and starts no thread, with a home folder that says nothing of consent."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in {"CI", "TF_BUILD", "JENKINS_URL"}}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, model_file],
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    assert list(home.rglob("*")) == []
