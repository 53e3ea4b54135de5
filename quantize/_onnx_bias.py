"""Bias correction: takes the mean error that weight rounding causes out of every convolution.

Rounding W to W' shifts the mean of an output channel o by sum_i (W' - W)_oi E[x_i], which is subtracted from
the bias (Nagel et al. 2019, arXiv:1906.04721, section 4.2; here E[x] comes from calibration samples):

    b'_o = b_o - sum_i (W' - W)_oi E[x_i]

Depthwise networks need it: their folded weights are large against what their clipped activations keep, and the
error of the few weights of a channel does not average out. Padding is left out of account.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.quantize._onnx_observe import observe, reduce_nodes
from edgepack.quantize._onnx_weights import channel_scales, to_int8

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import onnx_ir as ir

    from edgepack.quantize.base import Feeds

_OPS = ("Conv", "Gemm")
_BIAS = 2  # index of the bias among the inputs of both


def correct_biases(
    model: onnx.ModelProto,
    path: Path,
    samples: Iterable[Feeds],
    exclude: Sequence[str] = (),
    *,
    per_channel: bool = True,
) -> int:
    """Correct the biases of Conv and Gemm nodes with constant weight and bias; returns how many.

    Args:
        model: The float model with weights in memory; its biases are changed.
        path: The same model's file, which the samples are run through.
        samples: Inputs of the model by name.
        exclude: Names of nodes that stay float.
        per_channel: Whether every output channel of a weight will have a scale of its own.
    """
    import numpy as np
    from onnx import numpy_helper

    constants = {initializer.name: initializer for initializer in model.graph.initializer}
    uses: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    nodes = [
        node
        for node in model.graph.node
        if node.op_type in _OPS
        and len(node.input) > _BIAS
        and node.input[1] in constants
        and uses.get(node.input[_BIAS]) == 1
        and node.input[_BIAS] in constants
        and node.input[0] not in constants
        and node.name not in exclude
    ]
    if not nodes:
        return 0
    means = _channel_means(
        path, {node.input[0]: len(constants[node.input[1]].dims) for node in nodes}, samples
    )
    for node in nodes:
        weight = _by_output(node, numpy_helper.to_array(constants[node.input[1]]))
        groups = int(_attribute(node, "group", 1))
        shift = mean_shift(weight, means[node.input[0]], groups, per_channel=per_channel)
        bias = constants[node.input[_BIAS]]
        values = numpy_helper.to_array(bias)
        corrected = np.broadcast_to(values, np.broadcast_shapes(values.shape, shift.shape)) - shift
        bias.CopyFrom(numpy_helper.from_array(corrected.astype(values.dtype), bias.name))
    return len(nodes)


def mean_shift(weight: np.ndarray, mean: np.ndarray, groups: int, *, per_channel: bool = True) -> np.ndarray:
    """sum_i (W' - W)_oi E[x_i] for a weight [outputs, inputs / groups, ...] and means [inputs]; float64 [outputs]."""
    import numpy as np

    scales = channel_scales(weight, 0)
    if not per_channel:
        scales = np.full_like(scales, channel_scales(weight.reshape(1, -1), 0)[0])
    rounded = to_int8(weight, scales, 0) * scales.reshape([-1] + [1] * (weight.ndim - 1))
    error = (rounded - weight.astype(np.float64)).reshape(*weight.shape[:2], -1).sum(axis=-1)
    outputs = weight.shape[0]
    per_output = np.repeat(mean.astype(np.float64).reshape(groups, -1), outputs // groups, axis=0)
    shift: np.ndarray = (error * per_output).sum(axis=1)
    return shift


def _channel_means(path: Path, ranks: dict[str, int], samples: Iterable[Feeds]) -> dict[str, np.ndarray]:
    """Mean of every channel, axis 1 of what Conv and Gemm read, for tensors of these ranks."""

    def probe(value: ir.Value, version: int) -> Sequence[tuple[str, Sequence[ir.Node]]]:
        axes = [axis for axis in range(ranks[str(value.name)]) if axis != 1]
        return [(str(value.name), reduce_nodes("ReduceMean", value, version, axes))]

    totals: dict[str, np.ndarray] = {}
    count = 0
    for seen in observe(path, ranks, probe, samples):
        count += 1
        totals = {name: now.astype("float64") + totals.get(name, 0) for name, now in seen.items()}
    return {name: total / count for name, total in totals.items()}


def _by_output(node: onnx.NodeProto, weight: np.ndarray) -> np.ndarray:
    """The weight with outputs first; alpha of a Gemm included."""
    if node.op_type == "Conv":
        return weight
    oriented = weight if _attribute(node, "transB", 0) else weight.T
    scaled: np.ndarray = oriented * _attribute(node, "alpha", 1.0)
    return scaled


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    for attribute in node.attribute:
        if attribute.name == name:
            return float(attribute.f if isinstance(default, float) else attribute.i)
    return default
