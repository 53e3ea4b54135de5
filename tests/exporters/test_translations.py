"""The table of translations that is built once: equal to torch's, and no export's additions are another's."""

from __future__ import annotations

import torch
from torch.onnx._internal.exporter._registration import ONNXRegistry

from edgepack.exporters.translations import remembered


def test_a_second_table_is_a_copy_of_the_first():
    plain = ONNXRegistry.from_torchlib()
    with remembered():
        first = ONNXRegistry.from_torchlib()
        relu = torch.ops.aten.relu.default
        first.register_op(relu, lambda x: x)
        second = ONNXRegistry().from_torchlib()
        other = ONNXRegistry.from_torchlib(opset_version=first.opset_version + 2)
    assert vars(second).keys() == vars(plain).keys()
    assert second.opset_version == plain.opset_version
    assert other.opset_version == plain.opset_version + 2
    names = {
        target: [meta.onnx_function.__name__ for meta in found] for target, found in plain.functions.items()
    }
    assert {
        t: [meta.onnx_function.__name__ for meta in found] for t, found in second.functions.items()
    } == names
    assert first.get_decomps(relu)[0].is_custom
    assert not any(meta.is_custom for meta in second.get_decomps(relu))
    assert second.functions["aten::relu"][0] is first.functions["aten::relu"][1], "it was not built again"


def test_torch_has_its_own_again():
    before = vars(ONNXRegistry)["from_torchlib"]
    with remembered():
        assert vars(ONNXRegistry)["from_torchlib"] is not before
    assert vars(ONNXRegistry)["from_torchlib"] is before
