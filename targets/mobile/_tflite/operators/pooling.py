"""Maxima and means of windows, between two transposes that the layout pass moves together and cancels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgepack.targets.mobile._tflite.base import BOTH, NotInteger, operator
from edgepack.targets.mobile._tflite.prepare import ACTIVATION
from edgepack.targets.mobile._tflite.quantization import LIMITS, per_tensor
from edgepack.targets.mobile._tflite.scales import fine_enough
from edgepack.targets.mobile._tflite.weights import no_bias
from edgepack.targets.mobile._tflite.windows import TO_FIRST, TO_LAST, Windows, padded, windows
from edgepack.toolchain.passes.graphs import standard

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.targets.mobile._tflite.graph import Tensor
    from edgepack.targets.mobile._tflite.node import Node

_IMAGE = 4
_NEVER_NEGATIVE = ("Relu", "Sigmoid", "Softmax", "HardSigmoid", "Softplus", "Abs", "Exp", "Sqrt")


@operator("MaxPool", to="MAX_POOL_2D, PAD, PADV2, TRANSPOSE", integer=BOTH, moves=True,
          limits="one or two spatial dimensions, dilation 1, without its output Indices")  # fmt: skip
def max_pool(node: Node) -> None:
    """The largest element of each window."""
    if node.used(1):
        node.refuse("its indices are read")
    x, w = _image(node)
    if any(d != 1 for d in w.dilations):
        node.refuse("its windows are dilated")
    padding = w.padding
    if padding is None:
        x, padding = _never_largest(node, x, w), "VALID"
    _finish(node, "MAX_POOL_2D", x, w, padding)


def _never_largest(node: Node, x: Tensor, w: Windows) -> Tensor:
    """The image with margins that no window's maximum is taken from.

    A margin of the lowest float would be part of the range that a quantizer finds, and leave no step for the rest.
    Zeros will do behind what is never negative: a window holds an element of the image as well.
    """
    if node.integer:
        return padded(node, x, w, np.array(LIMITS[x.dtype][0], x.dtype))
    source = node.onnx.inputs[0]
    producer = None if source is None else source.producer()
    inside = all(
        before < kernel and after < kernel
        for before, after, kernel in zip(w.before, w.after, w.kernel, strict=True)
    )
    if inside and producer is not None and _never_negative(producer):
        return padded(node, x, w)
    return padded(node, x, w, np.array(np.finfo(np.float32).min, x.dtype))


def _never_negative(producer: ir.Node) -> bool:
    """Whether its result is, by its kind or by the activation that became part of it."""
    return standard(producer, *_NEVER_NEGATIVE) or producer.meta.get(ACTIVATION) in {"RELU", "RELU6"}


@operator("AveragePool", to="AVERAGE_POOL_2D, DEPTHWISE_CONV_2D, MEAN, PAD, MUL, TRANSPOSE", integer=BOTH,
          limits="one or two spatial dimensions, dilation 1")  # fmt: skip
def average_pool(node: Node) -> None:
    """The mean of each window; what is added around the image counts or does not, as the node says."""
    x, w = _image(node)
    if any(d != 1 for d in w.dilations):
        node.refuse("its windows are dilated")
    if w.out == (1, 1) and w.kernel == w.size and not any(w.before):
        _mean(node, x)
        return
    rank = len(node.shape()) - 2
    pads = node.attribute("pads", [0] * 2 * rank)[rank:]
    counted = bool(node.attribute("count_include_pad", 0))
    declared = (0,) * (2 - rank) + tuple(pads) if counted else None
    if node.attribute("auto_pad", "NOTSET") != "NOTSET" and counted:
        declared = w.after
    counts = w.counts(declared=declared)
    padding = w.padding
    whole = float(np.prod(w.kernel))
    even, finer = bool((counts == whole).all()), _finer(node, x)
    if padding == "SAME" and np.array_equal(counts, w.counts()):
        if finer and x.quantization is not None:
            fine_enough(node, x.quantization)
        _finish(node, "AVERAGE_POOL_2D", x, w, padding)
        return
    if padding == "VALID" and not finer:
        _finish(node, "AVERAGE_POOL_2D", x, w, padding)
        return
    if node.integer and not even:
        raise NotInteger("its windows hold different numbers of elements")
    x = x if padding == "VALID" else padded(node, x, w)
    if finer:
        _weighed(node, x, w)
        return
    if even:
        _finish(node, "AVERAGE_POOL_2D", x, w, "VALID")
        return
    made = node.emit("AVERAGE_POOL_2D", [x], (x.shape[0], *w.out, x.shape[3]), **_options(w, "VALID"))
    share = node.constant((whole / counts)[None, ..., None].astype(np.float32), "share")
    made = node.emit("MUL", [made, share], made.shape, **node.fused())
    node.bind(node.reshaped(node.transposed(made, TO_FIRST), node.out_shape()))


def _mean(node: Node, x: Tensor) -> None:
    """A window over all of the image; MEAN's kernel can change the scale."""
    result = node.results[0] if node.integer else None
    made = node.graph.tensor(f"{node.label}/mean", x.dtype, (x.shape[0], 1, 1, x.shape[3]), result)
    node.graph.add("MEAN", [x, node.integers([1, 2], "axes")], [made], {"keepDims": True})
    node.bind(node.reshaped(node.transposed(made, TO_FIRST), node.out_shape()))


def _finer(node: Node, x: Tensor) -> bool:
    """Whether the result is wanted finer than the input, whose scale AVERAGE_POOL_2D keeps."""
    result = node.results[0] if node.integer else None
    return result is not None and x.quantization is not None and result.scale < 0.999 * x.quantization.scale


def _weighed(node: Node, x: Tensor, w: Windows) -> None:
    """The mean as a depthwise convolution with weights 1 of scale 1/(h w): it sums exactly and rounds once."""
    channels = x.shape[3]
    shape = (1, *w.kernel, channels)
    ones = per_tensor(1.0 / float(np.prod(w.kernel)))
    kernel = node.constant(np.ones(shape, np.int8), "ones", ones)
    inputs = [x, kernel, no_bias(node, x, kernel, channels)]
    made = node.graph.tensor(f"{node.label}/mean", x.dtype, (x.shape[0], *w.out, channels), node.results[0])
    given = {"padding": "VALID", "strideH": w.strides[0], "strideW": w.strides[1], "depthMultiplier": 1,
             "dilationHFactor": 1, "dilationWFactor": 1}  # fmt: skip
    node.graph.add("DEPTHWISE_CONV_2D", inputs, [made], given | node.fused())
    node.bind(node.reshaped(node.transposed(made, TO_FIRST), node.out_shape()))


def _finish(node: Node, code: str, x: Tensor, w: Windows, padding: str) -> None:
    given = _options(w, padding) | node.fused()
    made = node.emit(code, [x], (x.shape[0], *w.out, x.shape[3]), **given)
    node.bind(node.reshaped(node.transposed(made, TO_FIRST), node.out_shape()))


def _options(w: Windows, padding: str) -> dict[str, Any]:
    return {
        "padding": padding, "strideH": w.strides[0], "strideW": w.strides[1],
        "filterHeight": w.kernel[0], "filterWidth": w.kernel[1],
    }  # fmt: skip


def _image(node: Node) -> tuple[Tensor, Windows]:
    """The image [N, H, W, C] and its windows."""
    x, kernel, out = node.x(), tuple(node.attribute("kernel_shape")), node.out_shape()[2:]
    rank = len(x.shape)
    if rank not in {3, _IMAGE}:
        node.refuse(f"it has {rank - 2} spatial dimensions", "TFLite pools along one or two")
    w = windows(node, x.shape[2:], kernel, out)
    if rank == 3:  # noqa: PLR2004 - [N, C, W]
        x = node.reshaped(x, (x.shape[0], x.shape[1], 1, x.shape[2]))
        w = Windows(
            (1, *w.size), (1, *w.out), (1, *w.kernel), (1, *w.strides), (1, *w.dilations), (0, *w.before)
        )
    return node.transposed(x, TO_LAST), w
