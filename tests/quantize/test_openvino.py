"""Weight-only forms for OpenVINO: what NNCF makes of a model, and that nobody is told of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.errors import TargetError, UnknownNameError, UsageError
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.results import Calibration
from edgepack.toolchain.vendors.openvino_ir import import_openvino

SIGNATURE = Signature((TensorSpec("x", "float32", ("n", 64)),), (TensorSpec("y", "float32", ("n", 64)),))


@pytest.fixture
def dense(tmp_path: Path) -> Lowered:
    """y = tanh(x W) V with small weights."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array((rng.normal(size=(64, 64)) / 8).astype(np.float32), n) for n in "WV"]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "W"], ["p"], name="first"),
            helper.make_node("Tanh", ["p"], ["t"], name="tanh"),
            helper.make_node("MatMul", ["t", "V"], ["y"], name="second"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
        weights,
    )
    path = tmp_path / "float" / "main.onnx"
    path.parent.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return Lowered("main", "onnx", path, SIGNATURE)


@pytest.fixture
def data() -> CalibrationData:
    rng = np.random.default_rng(1)
    samples = [{"x": rng.normal(size=(4, 64)).astype(np.float32)} for _ in range(12)]
    facts = Calibration(kind="user", description="noise", samples=8, held_out=4)
    return CalibrationData(facts, samples[:8], samples[8:], "noise")


def cosine(made: Lowered, dense: Lowered, data: CalibrationData) -> float:
    with (
        sessions.get("onnxruntime")(dense.path, SIGNATURE) as reference,
        sessions.get("openvino")(made.path, SIGNATURE) as session,
    ):
        pairs = [(reference.run(feed)["y"].ravel(), session.run(feed)["y"].ravel()) for feed in data.held_out]
    return float(np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]))


def kinds(made: Lowered) -> dict[str, int]:
    """How many matrices are stored in which type."""
    found: dict[str, int] = {}
    for node in import_openvino().Core().read_model(made.path).get_ops():
        shape = list(node.get_output_shape(0)) if node.get_type_name() == "Constant" else []
        if len(shape) > 1 and 1 not in shape:
            name = node.get_output_element_type(0).to_string()
            found[name] = found.get(name, 0) + 1
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bits", "kind", "lowest"), [(16, {"f16": 2}, 0.999999), (8, {"i8": 2}, 0.9999), (4, {"i4": 2}, 0.98)]
)
def test_weights(dense: Lowered, data: CalibrationData, tmp_path: Path, bits, kind, lowest) -> None:
    made = quantizers.get("openvino-weights")().quantize(dense, "weights", data, tmp_path / "q", bits=bits)
    assert made.changed_nodes == 2
    assert {name.replace("u4", "i4"): count for name, count in kinds(made).items()} == kind
    assert lowest < cosine(made, dense, data) <= 1 + 1e-6


def test_unknown_options(dense: Lowered, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="grop"):
        quantizers.get("openvino-weights")().quantize(dense, "int4-weights", None, tmp_path, grop=32)
    with pytest.raises(UsageError, match="'group'"):
        quantizers.get("openvino-weights")().quantize(dense, "int4-weights", None, tmp_path, group=1)


def without_products(dense: Lowered) -> None:
    model = onnx.load(dense.path)
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Tanh", ["x"], ["y"]))
    onnx.save(model, dense.path)


@pytest.mark.parametrize("name", ["openvino-bf16", pytest.param("openvino-weights", marks=pytest.mark.slow)])
def test_nothing_to_quantize(dense: Lowered, tmp_path: Path, name: str) -> None:
    without_products(dense)
    with pytest.raises(TargetError, match="changed no operator") as caught:
        quantizers.get(name)().quantize(dense, "some", None, tmp_path / "q")
    assert caught.value.exit_code == 4


WATCHED = """
import runpy, socket, sys
from concurrent import futures

def no(*args, **kwargs):
    raise SystemExit("a socket was opened")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = no
sys.argv = ["worker", sys.argv[2]] if (module := sys.argv[1]) else []
runpy.run_module(module, run_name="__main__")
import nncf.telemetry.wrapper as wrapper
from unittest.mock import MagicMock
assert isinstance(wrapper.telemetry, MagicMock), wrapper.telemetry
assert not any(name.startswith("openvino_telemetry.") for name in sys.modules)
"""


@pytest.mark.slow
def test_nothing_is_reported(dense: Lowered, data: CalibrationData, tmp_path: Path) -> None:
    """The quantizing process makes no connection, though nothing in the environment asks it not to."""
    home, samples = tmp_path / "home", tmp_path / "samples"
    home.mkdir()
    samples.mkdir()
    for index, sample in enumerate(data):
        np.savez(samples / f"{index}.npz", x=sample["x"])
    request: dict[str, object] = {
        "input": str(dense.path),
        "output": str(tmp_path / "q.xml"),
        "samples": str(samples),
    }
    request |= {"answer": str(tmp_path / "answer.json"), "bits": 4, "group": 32}
    (tmp_path / "request.json").write_text(json.dumps(request))
    environment = {k: v for k, v in os.environ.items() if k not in {"CI", "TF_BUILD", "JENKINS_URL"}}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, "edgepack.quantize._openvino_worker", tmp_path / "request.json"],
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "answer.json").read_text())["ok"]
    assert [path for path in home.rglob("*") if "intel" in path.name.lower()] == []
