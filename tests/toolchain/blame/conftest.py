"""A small network one layer of which has outliers, exported for a target that quantizes everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgepack
from edgepack.targets.base import Compiled, Offer, Requirement, Target, targets
from edgepack.toolchain.bundle import Bundle
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.results import Placement, Tool

WIDTH, DEPTH, LOUD = 64, 5, 2


class Plain(Target):
    """The ONNX file as it is; static int8 of every operator, weight-only int8, and fp32."""

    name = "cpu:plain"
    title = "plain"
    session = "onnxruntime"

    def requirements(self):
        return [Requirement("onnxruntime", "pip install edgepack")]

    def lower_key(self):
        return "plain"

    def lower(self, program, part, context, folder):  # noqa: ARG002 - the interface
        path = folder / "main.onnx"
        ir.save(ir.external_data.load_to_model(part.model()), path)
        return Lowered(part.name, "onnx", path, part.signature)

    def offers(self, lowered, rows=None):  # noqa: ARG002 - the interface
        return [
            Offer("fp32"),
            Offer("int8-static", "onnx-static"),
            Offer("int8-weights", "onnx-weights", {"bits": 8}),
        ]

    def compile(self, lowered, context, folder):  # noqa: ARG002 - the interface
        ir.save(ir.external_data.load_to_model(ir.load(lowered.path)), folder / "main.onnx")
        placement, tool = Placement(accelerator=0, cpu=1), Tool(name="copy", version="1")
        return Compiled(("main.onnx",), "main.onnx", placement, tool)


def outlier_network(path: Path) -> Path:
    """x [batch, 64] -> five residual blocks; in "loud", one channel is 300 times as large as the others."""
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    nodes, last = [], "x"
    for i in range(DEPTH):
        a, b = (rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 8 for _ in range(2))
        if i == LOUD:
            a[:, 7] *= 300
            b[7, :] /= 300
        weights |= {f"a{i}": a, f"b{i}": b}
        up = "loud" if i == LOUD else f"up{i}"
        nodes += [
            helper.make_node("MatMul", [last, f"a{i}"], [f"u{i}"], name=up),
            helper.make_node("Relu", [f"u{i}"], [f"r{i}"], name=f"relu{i}"),
            helper.make_node("MatMul", [f"r{i}", f"b{i}"], [f"d{i}"], name=f"down{i}"),
            helper.make_node("Add", [f"d{i}", last], [f"s{i}" if i < DEPTH - 1 else "y"], name=f"sum{i}"),
        ]
        last = f"s{i}"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", WIDTH])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.fixture(scope="session")
def network():
    """What writes the network."""
    return outlier_network


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with Cache(tmp_path_factory.mktemp("cache")) as store:
        yield store


@pytest.fixture(scope="module")
def plain():
    """The target's name, while it is registered."""
    targets.names()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(targets._members, Plain.name, Plain)
        yield Plain.name


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    path = tmp_path_factory.mktemp("samples") / "x.npz"
    rng = np.random.default_rng(5)
    np.savez(path, x=rng.standard_normal((48, 4, WIDTH)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def rejected(plain, cache, samples, tmp_path_factory) -> Bundle:
    """A bundle whose int8 artifact failed its gate."""
    folder = tmp_path_factory.mktemp("rejected")
    return edgepack.export(
        outlier_network(folder / "loud.onnx"),
        targets=plain,
        out=folder / "bundle",
        precision="int8-static",
        calibration=str(samples),
        calibration_samples=24,
        gate={"cosine": 0.999},
        measure=False,
        check=False,
        cache=cache,
    )
