"""A frozen network as ONNX: one node a layer, with the packed bytes, computing what torch computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from edgepack.quantize.binary import PackedLayer, convert, freeze, translations
from tests.quantize.binary.networks import images, residual, train
from tests.quantize.binary.reference import BinConv, BinLinear

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")
BATCH = ({0: torch.export.Dim("batch")},)


def frozen_network(method: str) -> nn.Module:
    model = convert(residual(), method, example_inputs=(images(),))[0]
    train(model, images())
    return freeze(model)


def from_module(frozen: nn.Module) -> onnx.ModelProto:
    """As a user's own call of torch.onnx."""
    return torch.onnx.export(
        frozen, (images(),), dynamic_shapes=BATCH, dynamo=True, verbose=False
    ).model_proto


def from_program(frozen: nn.Module) -> onnx.ModelProto:
    """As from a program that was exported before."""
    program = torch.export.export(frozen, (images(),), dynamic_shapes=BATCH)
    torch.testing.assert_close(program.module()(images()), frozen(images()), rtol=0, atol=0)
    return torch.onnx.export(
        program, dynamo=True, verbose=False, custom_translation_table=translations()
    ).model_proto


def check(model: onnx.ModelProto, frozen: nn.Module) -> None:
    constants = {value.name: onnx.numpy_helper.to_array(value) for value in model.graph.initializer}
    layers = [layer for layer in frozen.modules() if isinstance(layer, PackedLayer)]
    nodes = [node for node in model.graph.node if node.domain == "edgepack"]
    assert [node.op_type for node in nodes] == ["BinConv", "BinConv", "BinLinear"]
    assert {entry.domain: entry.version for entry in model.opset_import}["edgepack"] == 1
    for node, layer in zip(nodes, layers, strict=True):
        packed, alpha, bias, shift = (constants[name] for name in node.input[1:])
        assert packed.dtype == np.uint8
        np.testing.assert_array_equal(packed, layer.packed)
        np.testing.assert_array_equal(alpha, layer.alpha)
        np.testing.assert_array_equal(bias, layer.bias)
        np.testing.assert_array_equal(shift, layer.shift)
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert attributes.pop("K") == layer.geometry.inputs // layer.geometry.groups
        if node.op_type == "BinConv":
            geometry = layer.geometry
            assert attributes == {
                "strides": list(geometry.strides),
                "pads": [0, 0, 0, 0] if layer.pads_with else list(geometry.pads),
                "dilations": list(geometry.dilations),
                "group": geometry.groups,
            }
    floats = {name for name, values in constants.items() if values.dtype == np.float32 and values.size > 2000}
    assert not floats, "no weight of a binary layer is left in floating point"
    evaluator = ReferenceEvaluator(model, new_ops=[BinLinear, BinConv])
    inputs = torch.randn(3, 3, 6, 6)
    (found,) = evaluator.run(None, {model.graph.input[0].name: inputs.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, frozen(inputs), rtol=1e-4, atol=1e-5)


# The other methods freeze to what one of these freezes to.
@pytest.mark.slow
@pytest.mark.parametrize("method", ["bnn", "dorefa", "reactnet", "xnor++", "xnor-net"])
def test_a_frozen_module_exports_as_one_node_a_layer(method):
    frozen = frozen_network(method)
    check(from_module(frozen), frozen)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["reactnet"])
def test_an_exported_program_is_written_with_the_table(method):
    frozen = frozen_network(method)
    check(from_program(frozen), frozen)
