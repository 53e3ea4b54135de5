"""A model that draws random numbers cannot be compared with what is made of it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.toolchain.errors import SourceError

DROPOUT = helper.make_node("Dropout", ["x", "ratio", "training"], ["y"])
NOISE = [helper.make_node("RandomNormalLike", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]


def written(path, nodes, *, training):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64]) for name in ("x", "y")]
    weights = {"ratio": np.float32(0.5), "training": np.array(training)}
    graph = helper.make_graph(
        nodes,
        "g",
        value[:1],
        value[1:],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
        path / "model.onnx",
    )
    return open_source(SourceRequest(str(path / "model.onnx")))


@pytest.mark.parametrize("nodes", [[DROPOUT], NOISE], ids=["dropout", "noise"])
def test_random_outputs_are_refused(tmp_path, nodes):
    with pytest.raises(SourceError, match="draws random numbers") as caught:
        written(tmp_path, nodes, training=True).program()
    assert "training_mode" in str(caught.value)


def test_dropout_of_inference_is_none(tmp_path):
    case = written(tmp_path, [DROPOUT], training=False).program().parts["main"].cases[0]
    np.testing.assert_array_equal(case.inputs["x"], case.outputs["y"])
