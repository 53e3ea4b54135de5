"""The share of multiply-accumulates on an NPU, counted by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.targets.npu._macs import NAME, of_onnx, onnx_macs
from edgepack.toolchain.results import NodeReason, Placement, Tool

TOOL = Tool(name="compiler", version="1")


@pytest.fixture
def path(tmp_path):
    """A convolution, a transposed one, two products; 3 groups and strides where they matter."""
    weights = {
        "w1": (6, 1, 3, 3),  # of 3 groups
        "w2": (6, 4, 2, 2),
        "w3": (8, 5),
        "w4": (5, 7),
        "shape": np.array([1, 32, 8], np.int64),
        "flat": np.array([32, 5], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"], "conv", group=3, pads=[1] * 4, strides=[2, 2]),
        helper.make_node("ConvTranspose", ["c", "w2"], ["t"], "up", strides=[2, 2]),
        helper.make_node("Reshape", ["t", "shape"], ["r"], "reshape"),
        helper.make_node("MatMul", ["r", "w3"], ["m"], "product"),
        helper.make_node("Reshape", ["m", "flat"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w4"], ["y"], "gemm"),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [32, 7])],
        [
            numpy_helper.from_array(np.ones(w, np.float32) if isinstance(w, tuple) else w, name)
            for name, w in weights.items()
        ],
    )  # fmt: skip
    file = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file


def placement(*off):
    reasons = [NodeReason(node=name, op=op, reason="no", cure="none") for op, name in off]
    return Placement(accelerator=6 - len(off), cpu=len(off), reasons=reasons)


def test_macs_by_hand(path):
    assert onnx_macs(path) == {
        "conv": 6 * 4 * 4 * 9,
        "up": 6 * 4 * 4 * 4 * 2 * 2,
        "product": 32 * 5 * 8,
        "gemm": 32 * 7 * 5,
    }


def test_the_share_is_of_macs_and_not_of_operators(path):
    total = 864 + 1536 + 1280 + 1120
    (all_,) = of_onnx(path, placement(("Reshape", "reshape")), TOOL)
    assert (all_.name, all_.value, all_.kind) == (NAME, 1.0, "counted")
    (some,) = of_onnx(path, placement(("Gemm", "gemm"), ("Reshape", "flatten")), TOOL)
    assert some.value == pytest.approx(1 - 1120 / total)
    assert of_onnx(path, placement(("MatMul", "fused_by_the_runtime")), TOOL) == ()


def test_pairs_of_16_bits_hide_no_product(tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["": 18, "com.microsoft": 1]>
        g (float[2,4] x) => (float[2,3] y)
        <float scale = {0.1}, uint16 zero = {0}, float[4,3] w = {1,2,3,4,5,6,7,8,9,10,11,12}>
        { q = com.microsoft.QuantizeLinear(x, scale, zero)  d = com.microsoft.DequantizeLinear(q, scale, zero)
          y = MatMul(d, w) }"""
    model = onnx.parser.parse_model(text)
    model.graph.node[-1].name = "product"
    onnx.save(model, tmp_path / "wide.onnx")
    assert onnx_macs(tmp_path / "wide.onnx") == {"product": 24}
