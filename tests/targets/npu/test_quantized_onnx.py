"""Models that come as quantized ONNX, on Ethos-U: with Vela, every operator on the NPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgepack.runtime.sessions.litert import LitertSession
from edgepack.targets.base import Context, targets
from edgepack.targets.npu._integer_ends import integer_ends
from edgepack.toolchain import tflite
from edgepack.toolchain.program import Lowered, Part, Program, Signature, TensorSpec
from edgepack.toolchain.quantized import AS_GIVEN
from tests.targets.mobile.tflite import harness, quantize
from tests.targets.mobile.tflite.networks import Network


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Part, onnx.ModelProto, Network]:
    n = Network()
    x = n.op("Relu", n.conv(n.input("image", 1, 3, 16, 16), 3, 8))
    x = n.op("Add", n.conv(x, 8, 8), x)
    x = n.op("Flatten", n.op("GlobalAveragePool", x))
    made, (name,) = quantize.quantized(
        n.model(n.op("Gemm", x, n.weight((8, 5)), n.weight((5,)))), n.feeds, "int8"
    )
    folder = tmp_path_factory.mktemp("network")
    onnx.save(made, folder / "main.onnx")
    signature = Signature(
        (TensorSpec("image", "float32", (1, 3, 16, 16)),), (TensorSpec(name, "float32", (1, 5)),)
    )
    part = Part("main", folder / "main.onnx", signature)
    return Program({"main": part}, source={"kind": "onnx"}), part, made, n


def lower(network: tuple[Program, Part, onnx.ModelProto, Network], folder: Path) -> Lowered:
    program, part, *_ = network
    return targets.get("npu:ethos-u55-128")().lower(program, part, Context({}, {}), folder)


def test_everything_is_on_the_npu(network, tmp_path) -> None:
    target = targets.get("npu:ethos-u55-128")()
    lowered = lower(network, tmp_path / "lowered")
    assert [offer.precision for offer in target.offers(lowered)] == [AS_GIVEN]
    compiled = target.compile(lowered, Context({}, {}), tmp_path / "out")
    assert compiled.placement.cpu == 0
    assert compiled.placement.accelerator >= 5
    assert compiled.estimate is not None
    # What is judged computes what the graph says, although it takes and gives integers.
    _, part, made, n = network
    with LitertSession(tmp_path / "out" / compiled.run_file, lowered.signature) as session:
        (got,) = session.run(n.feeds).values()
    (want,) = harness.expected(made, n.feeds)
    assert np.abs(got - want).max() <= 0.02 * np.abs(want).max()
    del part


def test_only_ends_that_nothing_else_needs_are_taken(network, tmp_path) -> None:
    model = tflite.read(lower(network, tmp_path).path)
    graph = model.subgraphs[0]
    before = len(graph.operators)
    copy = [int(graph.inputs[0])]
    graph.outputs = [*graph.outputs, *copy]  # the image itself is an output too
    assert integer_ends(model) == 1
    assert len(graph.operators) == before - 1
    assert int(graph.inputs[0]) in copy
