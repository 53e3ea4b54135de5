"""Operator sets that a compiler refuses, and operators that it lacks, become what it loads, and compute the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.targets.npu._older_onnx import older
from edgepack.toolchain.errors import TargetError


def model(op: str, opset: int, **attributes: object) -> onnx.ModelProto:
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["h"], **attributes), helper.make_node("Identity", ["h"], ["y"])],
        "main",
        [helper.make_tensor_value_info("x", kind, [2, 8])],
        [helper.make_tensor_value_info("y", kind, [2, 8])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(proto: onnx.ModelProto) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize(("op", "opset"), [("Relu", 18), ("Relu", 21), ("Softmax", 23), ("Gelu", 20)])
def test_what_can_be_said_in_an_older_set(op: str, opset: int) -> None:
    proto = model(op, opset)
    made = ir.serde.serialize_model(older(ir.serde.deserialize_model(proto), "main", 19, "the compiler"))
    assert made.opset_import[0].version == min(opset, 19)
    assert not any(node.op_type == "CastLike" for node in made.graph.node)
    assert np.abs(run(made) - run(proto)).max() < 1e-6


def test_what_cannot_is_named() -> None:
    proto = model("RegexFullMatch", 20, pattern="a")
    with pytest.raises(TargetError, match=r"up to 19, and RegexFullMatch is of a newer one"):
        older(ir.serde.deserialize_model(proto), "main", 19, "the compiler")


@pytest.mark.parametrize("opset", [17, 20])
def test_operators_that_are_lacking_are_written_out(opset: int) -> None:
    proto = model("LayerNormalization", opset)
    proto.graph.node[0].input.append("scale")
    scale = np.linspace(0.5, 2, 8, dtype=np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(scale, "scale"))
    lacks = ("LayerNormalization", "Gelu")
    made = ir.serde.serialize_model(older(ir.serde.deserialize_model(proto), "main", 19, "it", lacks))
    assert made.opset_import[0].version == min(opset, 19)
    assert not {node.op_type for node in made.graph.node} & {*lacks, "CastLike"}
    assert np.abs(run(made) - run(proto)).max() < 1e-6
