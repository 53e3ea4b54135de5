"""Where fake quantizers go, so that ONNX Runtime finds integer kernels for what comes out.

A convolution or linear layer reads an 8-bit activation and an integer weight, and gives an 8-bit activation, behind
its Relu, Relu6 or Clip if it has one. The same holds for the sum of two activations. What gives an output of the model
stays float. Operators in between (pooling, reshapes) compute in float on 8-bit values, as ONNX Runtime's own
quantizer would leave them.

torchao's fused fake quantizer is not used: its kernel takes -4 to 3 for the levels of symmetric weights of 3 bits
where the scale that conversion writes is for -3 to 3. What is trained has to be what ships.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import (
    FakeQuantize,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationSpec, Quantizer

_ATEN = torch.ops.aten
_WEIGHTED = (_ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv2d.padding, _ATEN.linear.default)
_ACTIVATIONS = (
    *(_ATEN.relu.default, _ATEN.relu_.default, _ATEN.relu6.default, _ATEN.relu6_.default),
    *(_ATEN.hardtanh.default, _ATEN.hardtanh_.default, _ATEN.clamp.default, _ATEN.clamp_.default),
)
_KEY = "quantization_annotation"
_SMALLEST_SCALE = 2.0**-16  # of an activation that was always zero


@dataclass(frozen=True)
class Scheme:
    """How numbers are rounded.

    Attributes:
        activations: "uint8", which x86 multiplies fastest by int8, or "int8", for ARM.
        weight_bits: From 2 to 8; fewer than 8 use so many of int8's levels.
        per_channel: Whether every output channel of a weight has a scale of its own.
    """

    activations: Literal["uint8", "int8"]
    weight_bits: int
    per_channel: bool

    def activation(self) -> QuantizationSpec:
        """Of activations: ranges are moving averages of what is seen in training."""
        unsigned = self.activations == "uint8"
        return QuantizationSpec(
            dtype=torch.uint8 if unsigned else torch.int8,
            quant_min=0 if unsigned else -128,
            quant_max=255 if unsigned else 127,
            qscheme=torch.per_tensor_affine,
            observer_or_fake_quant_ctr=FakeQuantize.with_args(
                observer=MovingAverageMinMaxObserver, eps=_SMALLEST_SCALE
            ),
        )

    def weight(self) -> QuantizationSpec:
        """Of weights: ranges are those that the weights have at the moment."""
        most = 2 ** (self.weight_bits - 1) - 1
        observer = MovingAveragePerChannelMinMaxObserver if self.per_channel else MovingAverageMinMaxObserver
        return QuantizationSpec(
            dtype=torch.int8,
            quant_min=-most,
            quant_max=most,
            qscheme=torch.per_channel_symmetric if self.per_channel else torch.per_tensor_symmetric,
            ch_axis=0 if self.per_channel else None,
            observer_or_fake_quant_ctr=FakeQuantize.with_args(observer=observer, averaging_constant=1.0),
        )


class IntegerKernels(Quantizer):  # type: ignore[misc]  # torchao has no types
    """Annotates a graph by a scheme.

    Attributes:
        count: Layers and sums that were annotated.
    """

    def __init__(self, scheme: Scheme) -> None:
        super().__init__()
        self.count = 0
        self._activation, self._weight = scheme.activation(), scheme.weight()

    def annotate(self, model: GraphModule) -> GraphModule:
        """Mark the inputs and outputs of layers and sums."""
        for node in model.graph.nodes:
            if node.target in _WEIGHTED:
                self._annotate(node, {node.args[0]: self._activation, node.args[1]: self._weight})
            elif node.target is _ATEN.add.Tensor and all(_is_float(value) for value in node.args[:2]):
                self._annotate(node, dict.fromkeys(node.args[:2], self._activation))
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing more to check."""

    def _annotate(self, node: Node, inputs: dict[Any, QuantizationSpec]) -> None:
        self.count += 1
        last = _activated(node)
        ends = any(user.op == "output" for user in last.users)
        output = None if ends else self._activation
        own = output if last is node else None
        node.meta[_KEY] = QuantizationAnnotation(input_qspec_map=inputs, output_qspec=own, _annotated=True)
        if last is not node:
            last.meta[_KEY] = QuantizationAnnotation(output_qspec=output, _annotated=True)


def _activated(node: Node) -> Node:
    """The activation that alone reads the node, or the node."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target in _ACTIVATIONS else node


def _is_float(value: object) -> bool:
    """Whether this is an activation of floats, no constant."""
    if not isinstance(value, Node) or value.op == "get_attr":
        return False
    shown = value.meta.get("val")
    return isinstance(shown, torch.Tensor) and shown.is_floating_point()
