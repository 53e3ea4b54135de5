"""`batch-norms`: BatchNormalization behind a convolution becomes part of the convolution's weights.

    s (W * x + b - m) / sqrt(v + eps) + t  =  (W g) * x + (b - m) g + t,    g = s / sqrt(v + eps)

with g per output channel, and * the convolution or the transposed one. A runtime would do so by itself; a
quantizer must see it done, or it rounds the convolution's raw output, whose range nobody asked for. The new
weights are computed one tensor at a time when the model is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes.base import passes
from edgepack.toolchain.passes.graphs import constant, standard
from edgepack.toolchain.passes.weights import SOURCE, array

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_CHANNELS = 1 << 16  # parameters are one number a channel
_EPSILON = 1e-5  # the operator's default


@passes.register("batch-norms")
def batch_norms(model: ir.Model) -> int:
    """Fold BatchNormalization into the Conv or ConvTranspose before it; returns how many."""
    return sum(_fold(graph, node) for graph in list(model.graphs()) for node in list(graph))


def _fold(graph: ir.Graph, norm: ir.Node) -> bool:
    import numpy as np
    import onnx_ir as ir

    if not standard(norm, "BatchNormalization") or len(norm.outputs) > 1 or norm.inputs[0] is None:
        return False
    result, conv = norm.inputs[0], norm.inputs[0].producer()
    if conv is None or not standard(conv, *_CONVOLUTIONS) or conv.graph is not graph:
        return False
    if result.is_graph_output() or len(result.uses()) > 1:
        return False
    weight = conv.inputs[1]
    # A training-mode norm uses the batch's own statistics; parameters that are no constants stay outside.
    parameters = [constant(value, limit=_CHANNELS) for value in norm.inputs[1:5]]
    bias = conv.inputs[2] if len(conv.inputs) > 2 else None  # noqa: PLR2004 - a convolution's third input
    shift = None if bias is None else constant(bias, limit=_CHANNELS)
    if (
        weight is None
        or weight.const_value is None
        or weight.is_graph_input()
        or weight.dtype is not ir.DataType.FLOAT
        or norm.attributes.get_int("training_mode")
        or any(p is None for p in parameters)
        or (bias is not None and shift is None)
    ):
        return False
    scale, offset, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    gain = scale / np.sqrt(variance + norm.attributes.get_float("epsilon", _EPSILON))
    moved = ((0.0 if shift is None else shift.astype(np.float64)) - mean) * gain + offset
    name = norm.outputs[0].name or ""
    groups = conv.attributes.get_int("group", 1) if conv.op_type == "ConvTranspose" else None
    scaled = _scaled(weight.const_value, gain, groups, f"{name}/weight")
    new_weight = _initializer(graph, f"{name}/weight", scaled)
    new_bias = _initializer(graph, f"{name}/bias", ir.Tensor(moved.astype(np.float32), name=f"{name}/bias"))
    fused = ir.Node(
        conv.domain,
        conv.op_type,
        [conv.inputs[0], new_weight, new_bias],
        list(conv.attributes.values()),
        outputs=[ir.Value(name=name, type=norm.outputs[0].type, shape=norm.outputs[0].shape)],
        name=conv.name,
    )
    graph.insert_before(norm, fused)
    ir.convenience.replace_all_uses_with(norm.outputs[0], fused.outputs[0], replace_graph_outputs=True)
    graph.remove([norm, conv], safe=True)
    return True


def _initializer(graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    import onnx_ir as ir

    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)  # type: ignore[arg-type]
    graph.register_initializer(value)
    return value


def _scaled(tensor: ir.TensorProtocol, gain: np.ndarray, groups: int | None, name: str) -> ir.LazyTensor:
    """W g: Conv's weights are [outputs, ...], ConvTranspose's [inputs, outputs of a group, ...].

    Args:
        tensor: W.
        gain: g, by output channel.
        groups: Of a ConvTranspose; None for a Conv.
        name: Of the product.
    """
    import onnx_ir as ir

    def compute() -> ir.TensorProtocol:
        import numpy as np

        values = array(tensor)
        if groups is None:
            shaped = gain.reshape(-1, *[1] * (values.ndim - 1))
        else:  # an input channel meets the output channels of its own group
            rows = np.repeat(gain.reshape(groups, -1), values.shape[0] // groups, axis=0)
            shaped = rows.reshape(*rows.shape, *[1] * (values.ndim - 2))
        return ir.Tensor((values * shaped).astype(np.float32), name=name)

    lazy = ir.LazyTensor(compute, dtype=tensor.dtype, shape=tensor.shape, name=name)  # type: ignore[arg-type]
    lazy.meta[SOURCE] = tensor
    return lazy
