"""Convolutions, pools, and pictures of other sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepack.targets.mobile._ncnn.layers import Tensor
from edgepack.targets.mobile._ncnn.translation import Translation, held_as, operator, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir

_NEVER = -3.0e38  # what a maximum is not found in


def _window(t: Translation, node: ir.Node, size: Sequence[int], kernel: Sequence[int]) -> list[list[int]]:
    """Strides, dilations, padding before and padding after, by axis."""
    count = len(kernel)
    strides, dilations = (
        list(node.attributes.get_ints(name) or [1] * count) for name in ("strides", "dilations")
    )
    pads = list(node.attributes.get_ints("pads") or [0] * 2 * count)
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if auto == "VALID":
        pads = [0] * 2 * count
    elif auto.startswith("SAME"):
        reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
        total = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in zip(size, strides, reach, strict=True)]
        less, more = [n // 2 for n in total], [n - n // 2 for n in total]
        pads = [*less, *more] if auto == "SAME_UPPER" else [*more, *less]
    if min(pads, default=0) < 0:
        raise t.error(node, "has negative padding")
    return [strides, dilations, pads[:count], pads[count:]]


_DEPTH = {1: 21, 2: 22, 3: 23, 4: 24, 15: 17}
_HEIGHT = {1: 11, 2: 12, 3: 13, 4: 14, 15: 16}


def _by_axis(key: int, values: Sequence[int]) -> dict[int, int | float | Sequence[int]]:
    """A convolution's parameter of every axis, outermost first; `key` is that of the width."""
    keys = [_DEPTH[key], _HEIGHT[key], key][3 - len(values) :]
    return dict(zip(keys, values, strict=True))


def _each(t: Translation, x: Tensor, count: int) -> list[Tensor]:
    """The examples of a batch [count, ...]; one is taken as it is."""
    return [t.layers.crop(x, 0, index, index + 1) for index in range(count)]


@operator("Conv", "ConvTranspose")
def _conv(t: Translation, node: ir.Node) -> list[Tensor]:
    """Of one axis as a picture of one row, which ncnn has in int8 too."""
    import numpy as np

    batch, channels, *size = shape_of(node.inputs[0])
    made = list(shape_of(node.outputs[0]))
    weight = t.known(node.inputs[1])
    bias = t.known(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None  # noqa: PLR2004
    if weight is None or (bias is None and len(node.inputs) > 2 and node.inputs[2] is not None):  # noqa: PLR2004
        raise t.error(node, "has weights that are computed")
    kernel = list(weight.shape[2:])
    group, backwards = node.attributes.get_int("group", 1), node.op_type == "ConvTranspose"
    strides, dilations, before, after = _window(t, node, size, kernel)
    extra = list(node.attributes.get_ints("output_padding") or [0] * len(size))
    if backwards and (
        node.attributes.get_string("auto_pad", "NOTSET") not in {"NOTSET", "VALID"}
        or node.attributes.get_ints("output_shape")
    ):
        raise t.error(node, "is told the size of its result")
    if len(size) == 1:
        size, kernel, strides, dilations = [1, *size], [1, *kernel], [1, *strides], [1, *dilations]
        before, after, extra = [0, *before], [0, *after], [0, *extra]
        made.insert(2, 1)
    if len(size) > 3 or (backwards and len(size) > 2):  # noqa: PLR2004 - axes of ncnn's layers
        raise t.error(node, f"goes along {len(size)} axes")
    if backwards:  # ONNX has [inputs, outputs of a group, ...], ncnn every group's outputs first
        inputs, outputs = channels // group, weight.shape[1]
        weight = weight.reshape(group, inputs, outputs, -1).transpose(0, 2, 1, 3)
    kind = ("Deconvolution" if backwards else "Convolution") + ("DepthWise" if group > 1 else "")
    kind += "3D" if len(size) == 3 else ""  # noqa: PLR2004 - a film
    params: dict[int, int | float | Sequence[int]] = {
        0: made[1],
        **_by_axis(1, kernel),
        **_by_axis(2, dilations),
        **_by_axis(3, strides),
        **_by_axis(4, before),
        **_by_axis(15, after),
        5: int(bias is not None),
        6: weight.size,
    }
    if group > 1:
        params[7] = group
    if backwards:
        params |= {18: extra[1], 19: extra[0]}
    held = [held_as(np.ascontiguousarray(weight), marked=True)]
    if bias is not None:
        held.append(held_as(bias, marked=False))
    frame = (channels, *size)
    x = t.number(node.inputs[0], frame if batch == 1 else (batch, math.prod(frame)))
    results = [
        t.layers.add(kind, [t.layers.reshape(one, frame)], [made[1:]], params, held)[0]
        for one in _each(t, x, batch if batch > 1 else 0) or [x]
    ]
    flat = [t.layers.reshape(one, (1, one.size)) for one in results] if batch > 1 else results
    return [t.layers.concat(flat, 0)]


@operator("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool")
def _pool(t: Translation, node: ir.Node) -> list[Tensor]:
    """Examples of a batch are channels here: a pool does not mix them."""
    batch, channels, *size = shape_of(node.inputs[0])
    made = list(shape_of(node.outputs[0]))[2:]
    largest = "Max" in node.op_type
    if node.op_type.startswith("Global"):
        x = t.number(node.inputs[0], (batch * channels, math.prod(size)))
        return [t.layers.reduce("max" if largest else "mean", x, 1)]
    kernel = list(node.attributes.get_ints("kernel_shape") or ())
    strides, dilations, before, after = _window(t, node, size, kernel)
    if len(size) > 2 or max(dilations) > 1:  # noqa: PLR2004 - axes of a picture
        raise t.error(node, f"goes along {len(size)} axes, or leaves elements out")
    if len(size) == 1:
        size, made, kernel, strides = [1, *size], [1, *made], [1, *kernel], [1, *strides]
        before, after = [0, *before], [0, *after]
    full = [
        (n + b + a - k) // s + 1 for n, b, a, k, s in zip(size, before, after, kernel, strides, strict=True)
    ]
    x = t.number(node.inputs[0], (batch * channels, *size))
    counted = node.attributes.get_int("count_include_pad", 0)
    if full != made:
        if not largest:
            raise t.error(node, "takes a mean of windows that reach over the edge (ceil_mode)")
        after = [
            (m - 1) * s + k - n - b for m, s, k, n, b in zip(made, strides, kernel, size, before, strict=True)
        ]
    if largest and max(*before, *after) > 0:  # ncnn pads with the lowest number itself, of both sides alike
        wide = [n + b + a for n, b, a in zip(size, before, after, strict=True)]
        pads: dict[int, int | float | Sequence[int]] = {
            0: before[0],
            1: after[0],
            2: before[1],
            3: after[1],
            4: 0,
            5: _NEVER,
        }
        x = t.layers.add("Padding", [x], [(batch * channels, *wide)], pads)[0]
        before, after = [0, 0], [0, 0]
    params: dict[int, int | float | Sequence[int]] = {
        0: int(not largest),
        1: kernel[1],
        11: kernel[0],
        2: strides[1],
        12: strides[0],
        3: before[1],
        13: before[0],
        14: after[1],
        15: after[0],
        5: 1,
        6: int(counted),
    }
    return t.layers.add("Pooling", [x], [(batch * channels, *made)], params)


@operator("Resize")
def _resize(t: Translation, node: ir.Node) -> list[Tensor]:
    """Pictures, by the nearest element of whole multiples, or linearly."""
    batch, channels, height, width = shape_of(node.inputs[0])
    made = shape_of(node.outputs[0])
    mode = node.attributes.get_string("mode", "nearest")
    way = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    whole = made[2] % height == 0 and made[3] % width == 0
    if made[:2] != (batch, channels):
        raise t.error(node, "changes channels or examples")
    if not (mode == "nearest" and whole) and not (
        mode == "linear" and way in {"half_pixel", "pytorch_half_pixel", "align_corners"}
    ):
        raise t.error(
            node, f"goes by {mode} elements ({way}) from {height} x {width} to {made[2]} x {made[3]}"
        )
    x = t.number(node.inputs[0], (batch * channels, height, width))
    params: dict[int, int | float | Sequence[int]] = {
        0: 1 if mode == "nearest" else 2,
        3: made[2],
        4: made[3],
        6: int(way == "align_corners"),
    }
    return t.layers.add("Interp", [x], [(batch * channels, *made[2:])], params)
