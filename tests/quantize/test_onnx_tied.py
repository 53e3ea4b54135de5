"""An output layer that multiplies by the transpose of the embedding table, as language models share it."""

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.quantize.base import CalibrationData
from edgepack.quantize.onnx_dynamic import OnnxDynamic
from edgepack.quantize.onnx_mixed import OnnxMixed
from edgepack.quantize.onnx_weights import OnnxWeights
from edgepack.toolchain.program import Lowered, Signature
from edgepack.toolchain.results import Calibration

ROWS, WIDTH = 320, 64


@pytest.fixture
def tied(tmp_path):
    """A lookup, a normalization, and the product with the transposed table, which is a second output's source too."""
    rng = np.random.default_rng(0)
    spread = np.where(np.arange(WIDTH) == 5, 20, 1)
    weights = {
        "table": rng.normal(size=(ROWS, WIDTH)),
        "gain": rng.uniform(0.5, 2, WIDTH) * spread,
        "shift": rng.normal(size=WIDTH),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("LayerNormalization", ["x", "gain", "shift"], ["n"]),
        helper.make_node("Transpose", ["table"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["n", "turned"], ["logits"], name="head"),
    ]
    graph = helper.make_graph(
        nodes,
        "tied",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "s"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    folder = tmp_path / "float"
    folder.mkdir()
    onnx.save(onnx.shape_inference.infer_shapes(model), folder / "main.onnx")
    return Lowered("main", "onnx", folder / "main.onnx", Signature((), ()))


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    samples = [{"ids": rng.integers(0, ROWS, (2, 9))} for _ in range(6)]
    return CalibrationData(Calibration(kind="user", description="", samples=6, held_out=0), samples, [], "")


def run(path):
    feeds = {"ids": np.arange(40).reshape(2, 20)}
    return np.asarray(onnxruntime.InferenceSession(path).run(None, feeds)[0])


@pytest.mark.parametrize(
    ("quantizer", "options", "bound"),
    [
        (OnnxWeights, {"bits": 8}, 0.02),
        (OnnxWeights, {"bits": 8, "algorithm": "gptq"}, 0.02),
        (OnnxWeights, {"bits": 4, "algorithm": "awq"}, 0.2),
        (OnnxDynamic, {}, 0.03),
        (OnnxDynamic, {"smooth": 0.5}, 0.03),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value),
)
def test_table_and_output_layer_are_both_quantized(tied, data, tmp_path, quantizer, options, bound):
    made = quantizer().quantize(tied, "q", data, tmp_path / "made", **options)
    graph = ir.load(made.path).graph
    counts = Counter(node.op_type for node in graph)
    assert made.changed_nodes == 2
    assert not counts["Transpose"] + counts["MatMul"]
    assert "table" not in graph.initializers
    expected = run(tied.path)
    assert 1e-4 < np.linalg.norm(run(made.path) - expected) / np.linalg.norm(expected) < bound


def test_the_output_layer_alone_leaves_the_table_to_the_lookup(tied, tmp_path):
    made = OnnxMixed().quantize(tied, "mixed", None, tmp_path / "made", assign={"head": "int8-weights"})
    graph = ir.load(made.path).graph
    assert [node.op_type for node in graph] == ["Gather", "LayerNormalization", "MatMulNBits"]
    assert "table" in graph.initializers
