"""A small convolutional network for the HTP, and an environment whose worker is a script of the test's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.quantize.base import CalibrationData
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.results import Calibration
from edgepack.toolchain.vendors import qnn
from tests import isolated

SIGNATURE = Signature((TensorSpec("x", "float32", (1, 3, 16, 16)),), (TensorSpec("y", "float32", (1, 10)),))
VERSION = next(pin.version for pin in qnn.ENVIRONMENT.pins() if pin.name == qnn.DISTRIBUTION)


def network(folder: Path, *, foreign: bool = False) -> Lowered:
    """Two convolutions, a pooling and a product; with `foreign`, a Sinh between, which the HTP lacks."""
    import onnx
    from onnx import helper, numpy_helper

    random = np.random.default_rng(0)
    weights = {"w1": (8, 3, 3, 3), "w2": (16, 8, 3, 3), "w3": (16, 10)}
    constants = [
        numpy_helper.from_array((random.standard_normal(shape) * 0.2).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], "conv1", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "conv2", pads=[1] * 4, strides=[2, 2]),
        *([helper.make_node("Sinh", ["c2"], ["s"], "sinh")] * foreign),
        helper.make_node("GlobalAveragePool", ["s" if foreign else "c2"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flat"),
        helper.make_node("MatMul", ["f", "w3"], ["y"], "product"),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("x", kind, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", kind, [1, 10])],
        constants,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "main.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return Lowered("main", "onnx", path, SIGNATURE)


def samples(count: int = 16) -> CalibrationData:
    random = np.random.default_rng(1)
    feeds = [{"x": random.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(count)]
    return CalibrationData(
        Calibration(kind="user", description="test", samples=count, held_out=0), feeds, [], ""
    )


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, worker: str) -> None:
    """A ready environment in `folder` whose worker is the given Python code.

    The code has `what` ("compile" or "run"), `request`, and `answer(found)`, which answers a compile request.
    """
    code = (
        "def answer(found):\n"
        "    pathlib.Path(request['answer']).write_text(json.dumps(found))\n"
        "def on(*groups):\n"
        "    rows = [{'provider': p, 'nodes': [{'name': n, 'op': n} for n in nodes]} for p, *nodes in groups]\n"
        f"    return {{'ok': True, 'assignment': rows, 'versions': {{'onnxruntime-qnn': {VERSION!r}}}}}\n"
        "def context(chip=b'soc_type=SM8650;arch=75;'):\n"
        "    file = pathlib.Path(request['context'])\n"
        "    import base64\n"
        f"    file.write_bytes(base64.b64decode({_empty_model()!r}))\n"
        "    file.with_name(file.stem + '_qnn.bin').write_bytes(b'x' + chip)\n"
        "def dlc():\n"
        "    pathlib.Path(request['dlc'], 'graph.dlc').write_bytes(b'dlc')\n" + worker
    )
    script = isolated.pretend(monkeypatch, folder, qnn.ENVIRONMENT, {qnn.DISTRIBUTION: VERSION}, code)
    monkeypatch.setattr(qnn, "WORKER", replace(qnn.WORKER, script=script))


def _empty_model() -> bytes:
    import base64

    import onnx
    from onnx import helper

    graph = helper.make_graph([], "context", [], [])
    model: onnx.ModelProto = helper.make_model(graph, ir_version=10)
    return base64.b64encode(model.SerializeToString())
