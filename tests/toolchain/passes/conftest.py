"""Graphs from text, and running them as they are, so that before and after can be compared."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgepack.toolchain.passes.base import passes

HEADER = '<ir_version: 9, opset_import: ["": 18]>\n'


@pytest.fixture
def graph():
    """Text of a graph (the model's header may be left out) to `onnx_ir.Model`."""

    def build(text: str, **weights: np.ndarray) -> ir.Model:
        proto = onnx.parser.parse_model(text if text.lstrip().startswith("<") else HEADER + text)
        for name, values in weights.items():
            proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        return ir.serde.deserialize_model(proto)

    return build


@pytest.fixture
def run():
    """Outputs of a model, by ONNX Runtime with all of its own optimizations off."""

    def call(model: ir.Model | str, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        content = model if isinstance(model, str) else ir.serde.serialize_model(model).SerializeToString()
        outputs: list[np.ndarray] = ort.InferenceSession(content, options).run(None, feeds)
        return outputs

    return call


@pytest.fixture
def apply(run):
    """Run one pass, check that the outputs stayed and that a second run finds nothing, return its count."""

    def call(name: str, model: ir.Model, feeds: dict[str, np.ndarray] | None = None) -> int:
        names = [value.name for value in (*model.graph.inputs, *model.graph.outputs)]
        expected = run(model, feeds) if feeds is not None else []
        count = passes.get(name)(model)
        if name != "initializer-inputs":
            assert [value.name for value in (*model.graph.inputs, *model.graph.outputs)] == names
        onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
        if feeds is not None:
            for before, after in zip(expected, run(model, feeds), strict=True):
                np.testing.assert_array_equal(before, after)
        assert passes.get(name)(model) == 0
        return count

    return call


@pytest.fixture
def ops():
    """Operator types of the main graph, in order."""

    def call(model: ir.Model) -> list[str]:
        return [node.op_type for node in model.graph]

    return call


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
