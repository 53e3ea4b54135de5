"""Transposes of many axes as such of three: the same numbers, and no Transpose of equal axes left that has more."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgepack.targets.npu._k230_transposes import short_transposes

SHAPES = [(1, 5, 3, 5), (2, 3, 3, 5), (3, 4, 4, 2), (2, 1, 2, 1, 2), (2, 3, 2, 3, 2), (2, 2, 2, 2)]


def transposed(shape: tuple[int, ...], order: tuple[int, ...]) -> onnx.ModelProto:
    node = helper.make_node("Transpose", ["x"], ["y"], perm=order)
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[axis] for axis in order])]
    return helper.make_model(
        helper.make_graph([node], "g", ends, outs), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_order_of_axes_is_kept(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for order in itertools.permutations(range(len(shape))):
        model = ir.serde.deserialize_model(transposed(shape, order))
        assert short_transposes(model) == 1
        proto = ir.serde.serialize_model(model)
        found = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]
        assert np.array_equal(found, x.transpose(order)), order
        turns = [len(node.attribute[0].ints) for node in proto.graph.node if node.op_type == "Transpose"]
        assert all(axes <= 3 for axes in turns)
        assert len(turns) < len(shape)


def test_neighbours_turn_as_one_axis() -> None:
    model = ir.serde.deserialize_model(transposed((2, 4, 4, 3), (1, 2, 0, 3)))
    short_transposes(model)
    (turn,) = (node for node in model.graph if node.op_type == "Transpose")
    assert list(turn.attributes.get_ints("perm", [])) == [1, 0, 2]


def test_axes_of_different_length_stay_as_they_are() -> None:
    model = ir.serde.deserialize_model(transposed((2, 3, 4, 5), (3, 1, 2, 0)))
    assert short_transposes(model) == 0
    for shape, order in (((4, 4, 4), (2, 1, 0)), ((1, 4, 1, 12), (0, 3, 2, 1))):
        model = ir.serde.deserialize_model(transposed(shape, order))
        assert short_transposes(model) == 0
