"""A model of one node, for runs whose subject is not the model."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper, save


@pytest.fixture
def linear():
    """y = x + x, written to main.onnx of a folder."""

    def write(folder):
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
        graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [value], [out])
        path = folder / "main.onnx"
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
        return path

    return write
