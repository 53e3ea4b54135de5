"""Convolutions.

ONNX has [N, C, H, W] and weights [out, in / groups, h, w]; TFLite [N, H, W, C] and

    CONV_2D            [out, h, w, in / groups]
    DEPTHWISE_CONV_2D  [1, h, w, out], output channel c of input channel c // multiplier
    TRANSPOSE_CONV     [out, h, w, in].

Each is translated between two transposes, which the layout pass moves together and cancels. One spatial dimension is
taken as two, the first of length 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgepack.targets.mobile._tflite.base import BOTH, NotInteger, operator
from edgepack.targets.mobile._tflite.graph import Tensor
from edgepack.targets.mobile._tflite.weights import bias, no_bias, weights
from edgepack.targets.mobile._tflite.windows import TO_FIRST, TO_LAST, Windows, padded, windows

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.node import Node

_IMAGE = 4


@operator(
    "Conv",
    to="CONV_2D, DEPTHWISE_CONV_2D, PAD, TRANSPOSE",
    integer=BOTH,
    limits="one or two spatial dimensions",
)
def convolution(node: Node) -> None:
    """A convolution, grouped or not."""
    x, shape = _image(node, node.x(0)), _spatial(node, node.shape(1))
    groups = int(node.attribute("group", 1))
    outputs, per_group = shape[:2]
    w = _windows(node, x.shape[1:3], shape[2:], node.out_shape())
    kernel = _kernel_2d(node, shape)
    own = (
        kernel.quantization.axis
        if kernel.quantization is not None and not kernel.quantization.per_tensor
        else 0
    )
    if own != 0:
        raise NotInteger("the weight's scales do not follow the output channels")
    depthwise = groups > 1 and per_group == 1 and groups == x.shape[3]
    if depthwise:
        kernel = node.transposed(kernel, (1, 2, 3, 0))
        given: dict[str, Any] = {"depthMultiplier": outputs // groups}
        code = "DEPTHWISE_CONV_2D"
    else:
        kernel = node.transposed(kernel, (0, 2, 3, 1))
        code, given = "CONV_2D", {}
    padding = w.padding
    if padding is None:
        x, padding = padded(node, x, w), "VALID"
    added = bias(node, 2, x, kernel, outputs) if node.has(2) else no_bias(node, x, kernel, outputs)
    given |= {
        "padding": padding, "strideH": w.strides[0], "strideW": w.strides[1],
        "dilationHFactor": w.dilations[0], "dilationWFactor": w.dilations[1],
    }  # fmt: skip
    _finish(node, code, [x, kernel, added], (x.shape[0], *w.out, outputs), given)


@operator("ConvTranspose", to="TRANSPOSE_CONV, SLICE, PAD, TRANSPOSE", integer=BOTH,
          limits="one or two spatial dimensions, one group, dilation 1")  # fmt: skip
def transposed_convolution(node: Node) -> None:
    """The transpose of a convolution: every input element spreads a window, and the margins are cut off."""
    x, shape = _image(node, node.x(0)), _spatial(node, node.shape(1))
    dilations = node.attribute("dilations", [1])
    if int(node.attribute("group", 1)) != 1 or any(d != 1 for d in dilations):
        node.refuse("it has groups or a dilation", "Split it into one for each group")
    outputs, extent = shape[1], shape[2:]
    rank = len(node.shape(0)) - 2
    strides = ([1] * (2 - rank)) + list(node.attribute("strides", [1] * rank))
    out = _spatial_out(node)
    full = tuple((n - 1) * s + k for n, s, k in zip(x.shape[1:3], strides, extent, strict=True))
    kernel = _kernel_2d(node, shape, out_axis=1)
    kernel = node.transposed(kernel, (1, 2, 3, 0))
    before = _cut_before(node, full, out, rank)
    inputs: list[Tensor | None] = [node.integers((x.shape[0], *full, outputs), "shape"), kernel, x]
    if node.has(2):
        inputs.append(bias(node, 2, x, kernel, outputs))
    result = node.results[0] if node.integer else None
    made = node.graph.tensor(f"{node.label}/full", x.dtype, (x.shape[0], *full, outputs), result)
    node.graph.add("TRANSPOSE_CONV", inputs, [made],
                   {"padding": "VALID", "strideH": strides[0], "strideW": strides[1]})  # fmt: skip
    _finish_cut(node, made, before, out)


def _finish_cut(node: Node, made: Tensor, before: Sequence[int], out: Sequence[int]) -> None:
    n, _, _, outputs = made.shape
    behind = [max(0, b + o - f) for b, o, f in zip(before, out, made.shape[1:3], strict=True)]
    if any(behind):  # output_padding: places that no window reaches hold the bias alone
        node.refuse(
            "its output reaches beyond every window (output_padding)", "Export it without output_padding"
        )
    if tuple(out) != made.shape[1:3]:
        begin, size = [0, *before, 0], [n, *out, outputs]
        made = node.emit("SLICE", [made, node.integers(begin, "begin"), node.integers(size, "size")], size)
    first = node.transposed(made, TO_FIRST)
    node.bind(node.reshaped(first, node.out_shape()))


def _cut_before(node: Node, full: Sequence[int], out: Sequence[int], rank: int) -> list[int]:
    mode = node.attribute("auto_pad", "NOTSET")
    if mode in {"NOTSET", "VALID"} and node.attribute("output_shape") is None:
        pads = node.attribute("pads", [0] * 2 * rank)
        return [0] * (2 - rank) + list(pads[:rank])
    total = [max(0, f - o) for f, o in zip(full, out, strict=True)]
    return [t // 2 if mode != "SAME_LOWER" else t - t // 2 for t in total]


def _finish(
    node: Node, code: str, inputs: list[Tensor | None], shape: Sequence[int], given: dict[str, Any]
) -> None:
    """Append the layer with its activation, and turn its result back to [N, C, ...]."""
    given |= node.fused()
    result = node.results[0] if node.integer else None
    dtype = node.integer if node.integer and result is not None else "float32"
    made = node.graph.tensor(f"{node.label}/{code.lower()}", dtype, shape, result)
    node.graph.add(code, inputs, [made], given)
    node.bind(node.reshaped(node.transposed(made, TO_FIRST), node.out_shape()))


def _image(node: Node, x: Tensor) -> Tensor:
    rank = len(x.shape)
    if rank not in {3, _IMAGE}:
        node.refuse(f"it has {rank - 2} spatial dimensions", "TFLite convolves along one or two")
    if rank == 3:  # noqa: PLR2004 - [N, C, W]
        x = node.reshaped(x, (x.shape[0], x.shape[1], 1, x.shape[2]))
    return node.transposed(x, TO_LAST)


def _spatial(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    if node.values(1) is None:
        node.refuse("its weights are computed while the model runs", "Make them constant")
    return shape if len(shape) == _IMAGE else (shape[0], shape[1], 1, shape[2])


def _spatial_out(node: Node) -> tuple[int, ...]:
    out = node.out_shape()[2:]
    if any(n < 0 for n in out):
        node.refuse("the image's size is open", "Give sizes for height and width")
    return out if len(out) == 2 else (1, *out)  # noqa: PLR2004 - height and width


def _kernel_2d(node: Node, shape: tuple[int, ...], out_axis: int = 0) -> Tensor:
    rank = len(node.shape(1))
    return node.reshaped(weights(node, 1, range(rank), out_axis=out_axis), shape)


def _windows(node: Node, size: Sequence[int], kernel: Sequence[int], out: Sequence[int]) -> Windows:
    if len(out) == _IMAGE:
        return windows(node, size, kernel, out[2:])
    one = windows(node, size[1:], kernel[1:], out[2:])
    return Windows((1, *one.size), (1, *one.out), (1, *one.kernel), (1, *one.strides), (1, *one.dilations),
                   (0, *one.before))  # fmt: skip
