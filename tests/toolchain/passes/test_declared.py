"""A graph whose dimensions have no names is pinned by those of its signature."""

import onnx_ir as ir
import pytest

from edgepack.toolchain.passes.declared import declare
from edgepack.toolchain.passes.pinned import pin_sizes
from edgepack.toolchain.program import Signature, TensorSpec

SIGNATURE = Signature(
    (TensorSpec("x", "float32", ("x_0", 8)),), (TensorSpec("y", "float32", ("y_0", 4)),)
)  # fmt: skip


def graph(batch, last):
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([batch, 8]))
    w = ir.Value(name="w", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([8, 4]))
    y = ir.Value(name="y", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([batch, last]))
    node = ir.Node("", "MatMul", [x, w], outputs=[y])
    return ir.Model(ir.Graph([x, w], [y], nodes=[node], opset_imports={"": 18}, name="g"), ir_version=10)


@pytest.mark.parametrize("batch", [None, -1, "past + 1"])
def test_open_dimensions_get_the_signatures_names_and_sizes(batch):
    model = graph(batch, 4)
    assert declare(model, SIGNATURE)
    assert str(model.graph.inputs[0].shape[0]) == "x_0"
    pin_sizes(model, {"x_0": 3})
    assert model.graph.inputs[0].shape == ir.Shape([3, 8])


def test_a_wrong_number_of_an_output_is_mended():
    model = graph("n", 5)
    declare(model, SIGNATURE)
    assert model.graph.outputs[0].shape[1] == 4


def test_a_number_of_an_input_stays():
    model = graph(2, 4)
    declare(model, SIGNATURE)
    assert model.graph.inputs[0].shape == ir.Shape([2, 8])
