"""A bundle of one small artifact, which takes a second to make."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import edgepack


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """x [batch, 8] -> relu(x @ w): [batch, 16], as a file."""
    weights = np.random.default_rng(0).standard_normal((8, 16), np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 16])],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.fixture(scope="session")
def small_bundle(small_model, own_cache):
    """Its bundle for ONNX Runtime."""
    out = small_model.parent / "bundle"
    return edgepack.export(small_model, targets="cpu:onnxruntime", precision="fp32", out=out, measure=False)
