"""Padding and batch normalisation go into the convolution, and only where they may."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.toolchain.passes.clean_up import clean_up

RNG = np.random.default_rng(0)
NORM = {name: RNG.uniform(0.5, 2, 6).astype(np.float32) for name in ("s", "t", "m", "v")}


def model(nodes, outputs=("y",), **constants):
    values = {"w": RNG.standard_normal((6, 3, 3, 3), np.float32), **NORM, **constants}
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 10, 10])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in values.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def cleaned(proto):
    """Kinds of nodes after clean-up, and the counts; outputs must agree before and after."""
    after = ir.serde.deserialize_model(proto)
    counts = clean_up(after)
    feed = {"x": RNG.standard_normal((2, 3, 10, 10), np.float32)}
    one, two = (
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)
        for m in (proto, ir.serde.serialize_model(after))
    )
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert [o.name for o in after.graph.outputs] == [o.name for o in proto.graph.output]
    return [node.op_type for node in after.graph], counts


def conv(inputs, output="c", **attributes):
    return helper.make_node("Conv", inputs, [output], **attributes)


def norm(source="c", output="y", **attributes):
    return helper.make_node("BatchNormalization", [source, "s", "t", "m", "v"], [output], **attributes)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_a_norm_behind_a_convolution_is_folded(bias, epsilon):
    inputs = ["x", "w", "b"] if bias else ["x", "w"]
    proto = model(
        [conv(inputs, strides=[2, 2]), norm(epsilon=epsilon)], b=RNG.standard_normal(6).astype(np.float32)
    )
    kinds, counts = cleaned(proto)
    assert kinds == ["Conv"]
    assert counts["batch-norms"] == 1


def test_many_channels_too():
    wide = {name: RNG.uniform(0.5, 2, 2000).astype(np.float32) for name in ("s", "t", "m", "v")}
    weight = RNG.standard_normal((2000, 3, 1, 1), np.float32)
    kinds, _ = cleaned(model([conv(["x", "w"]), norm()], w=weight, **wide))
    assert kinds == ["Conv"]


def test_grouped_convolutions_too():
    weight = RNG.standard_normal((6, 1, 3, 3), np.float32)
    kinds, _ = cleaned(model([conv(["x", "w"], group=3), norm()], w=weight))
    assert kinds == ["Conv"]


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_transposed_convolutions_too(groups, bias):
    # [input channels, output channels of a group, ...]: neither axis can be taken for the other
    weight = RNG.standard_normal((12, 6 // groups, 3, 2), np.float32)
    spread = RNG.standard_normal((12, 3, 1, 1), np.float32)
    up = helper.make_node("ConvTranspose", ["p", "w", *["b"] * bias], ["c"], group=groups, strides=[2, 2])
    proto = model(
        [conv(["x", "spread"], "p"), up, norm()],
        w=weight,
        spread=spread,
        b=RNG.standard_normal(6).astype(np.float32),
    )
    kinds, counts = cleaned(proto)
    assert kinds == ["Conv", "ConvTranspose"]
    assert counts["batch-norms"] == 1


@pytest.mark.parametrize(
    "nodes",
    [
        [conv(["x", "w"]), norm(), helper.make_node("Relu", ["c"], ["z"])],
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("BatchNormalization", ["r", "s3", "s3", "s3", "s3"], ["y"]),
        ],
    ],
)
def test_a_norm_that_stands_otherwise_stays(nodes):
    outputs = ("y", "z") if any("z" in node.output for node in nodes) else ("y",)
    kinds, counts = cleaned(model(nodes, outputs, s3=np.ones(3, np.float32)))
    assert "BatchNormalization" in kinds
    assert counts["batch-norms"] == 0


def pad(amounts, filling=None, **attributes):
    inputs = ["x", "amounts"] + (["filling"] if filling is not None else [])
    constants = {"amounts": np.array(amounts, np.int64)}
    if filling is not None:
        constants["filling"] = np.float32(filling)
    return helper.make_node("Pad", inputs, ["p"], **attributes), constants


@pytest.mark.parametrize("filling", [None, 0.0])
def test_zero_padding_is_folded_and_added_to_what_is_there(filling):
    node, constants = pad([0, 0, 0, 1, 0, 0, 1, 2], filling)
    proto = model([node, conv(["p", "w"], "y", pads=[1, 0, 0, 1], strides=[2, 2])], **constants)
    kinds, counts = cleaned(proto)
    assert kinds == ["Conv"]
    assert counts["pads"] == 1


@pytest.mark.parametrize(
    ("amounts", "filling", "attributes"),
    [
        ([0, 0, 1, 1, 0, 0, 1, 1], 1.0, {}),
        ([0, 0, 1, 1, 0, 0, 1, 1], None, {"mode": "reflect"}),
        ([1, 0, 1, 1, 0, 0, 1, 1], 0.0, {}),
        ([0, 0, -1, 0, 0, 0, 0, 0], 0.0, {}),
    ],
)
def test_other_padding_stays(amounts, filling, attributes):
    node, constants = pad(amounts, filling, **attributes)
    kinds, counts = cleaned(model([node, conv(["p", "w"], "y")], **constants))
    assert kinds == ["Pad", "Conv"]
    assert counts["pads"] == 0


def test_both_together_on_a_real_pattern():
    node, constants = pad([0, 0, 0, 0, 0, 0, 1, 1], 0.0)
    kinds, _ = cleaned(
        model([node, conv(["p", "w"]), norm(output="n"), helper.make_node("Relu", ["n"], ["y"])], **constants)
    )
    assert kinds == ["Conv", "Relu"]
