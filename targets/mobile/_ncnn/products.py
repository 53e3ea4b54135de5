"""Sums of products: matrices, convolutions, pools, norms, sums and means, softmax, and pictures of other sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepack.targets.mobile._ncnn.arithmetic import together
from edgepack.targets.mobile._ncnn.layers import MOST, Tensor, merge
from edgepack.targets.mobile._ncnn.moves import along, transpose
from edgepack.targets.mobile._ncnn.translation import Translation, finite, operator, shape_of
from edgepack.toolchain.vendors.ncnn_network import Weight

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

_REDUCTIONS = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceProd": "product",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceSumSquare": "square sum",
    "ReduceLogSum": "log sum",
    "ReduceLogSumExp": "logsumexp",
}
_NEVER = -3.0e38  # what a maximum is not found in


def _weights(array: np.ndarray, *, marked: bool) -> Weight:
    return Weight(finite(array).ravel(), marked=marked)


def linear(t: Translation, x: Tensor, weight: np.ndarray, bias: np.ndarray | None) -> Tensor:
    """X W^T + b for x [M, K], W [N, K], b [N].

    Of a single row too: ncnn has a layer of its own for that, whose int8 form needs the input's range beforehand, where
    `Gemm` finds it at every call, and rounded decoding steps with larger errors.
    """
    rows, depth = x.shape
    width, has = len(weight), int(bias is not None)
    held = [_weights(one, marked=True) for one in (weight, bias) if one is not None]
    params: dict[int, int | float | Sequence[int]] = {
        0: 1.0,
        1: 1.0,
        2: 0,
        3: 1,
        4: 0,
        5: 1,
        6: has,
        7: 0,
        8: width,
        9: depth,
        10: 4 if has else -1,
    }
    return t.layers.add("Gemm", [x], [(rows, width)], params, held)[0]


@operator("MatMul")
def _matmul(t: Translation, node: ir.Node) -> list[Tensor]:
    a, b = map(list, map(shape_of, node.inputs))
    a, b = ([1, *a] if len(a) == 1 else a), ([*b, 1] if len(b) == 1 else b)
    outer = math.prod(b[:-2])
    known = t.known(node.inputs[1])
    if known is not None and outer == 1:
        x = t.number(node.inputs[0], (math.prod(a[:-1]), a[-1]))
        return [linear(t, x, known.reshape(b[-2:]).T, None)]
    if outer == 1:
        x = t.number(node.inputs[0], (math.prod(a[:-1]), a[-1]))
        return [t.layers.matmul(x, t.number(node.inputs[1], b[-2:]))]
    shapes = together([a[:-2] or [1], b[:-2] or [1]])
    if shapes is None or len(shapes[0]) > MOST - 2:
        merged = [math.prod(one[:-2]) for one in (a, b)]
        if a[:-2] != b[:-2] and 1 not in merged:
            raise t.error(node, "repeats its inputs along more axes than ncnn's tensors have")
        shapes = [(size,) for size in merged]
    sides = [
        t.number(value, (*shape, *one[-2:]))
        for value, shape, one in zip(node.inputs, shapes, (a, b), strict=True)
    ]
    return [t.layers.matmul(*sides)]


@operator("Gemm")
def _gemm(t: Translation, node: ir.Node) -> list[Tensor]:
    alpha, beta = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    turned = [node.attributes.get_int(name, 0) for name in ("transA", "transB")]
    x = t.number(node.inputs[0], shape_of(node.inputs[0]))
    if turned[0]:
        x = t.layers.permute(x, (1, 0))
    weight = t.known(node.inputs[1])
    given = node.inputs[2] if len(node.inputs) > 2 else None  # noqa: PLR2004 - the bias
    bias = t.known(given)
    rows, width = shape_of(node.outputs[0])
    if weight is not None:
        weight = alpha * (weight if turned[1] else weight.T)
        if bias is not None and bias.size in {1, width} and (bias.ndim < 2 or bias.shape[-1] == bias.size):  # noqa: PLR2004
            import numpy as np

            return [linear(t, x, weight, np.broadcast_to(beta * bias.ravel(), (width,)))]
        made = linear(t, x, weight, None)
    else:
        y = t.number(node.inputs[1], shape_of(node.inputs[1]))
        made = t.layers.matmul(x, t.layers.permute(y, (1, 0)) if turned[1] else y)
        made = made if alpha == 1 else t.layers.binary("mul", made, alpha)
    if given is None or beta == 0:
        return [made]
    shape = shape_of(given)
    added = t.number(given, (*(1,) * (2 - len(shape)), *shape))
    added = added if beta == 1 else t.layers.binary("mul", added, beta)
    return [t.layers.binary("add", t.layers.reshape(made, (rows, width)), added)]


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
    held = [_weights(np.ascontiguousarray(weight), marked=True)]
    if bias is not None:
        held.append(_weights(bias, marked=False))
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


def _axes(t: Translation, node: ir.Node) -> list[int]:
    rank = len(shape_of(node.inputs[0]))
    given = t.known(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes")
    if given is None or not len(given):
        return [] if node.attributes.get_int("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(int(axis) % rank for axis in given)


@operator(*_REDUCTIONS)
def _reduce(t: Translation, node: ir.Node) -> list[Tensor]:
    axes, shape = _axes(t, node), shape_of(node.inputs[0])
    if not axes:
        return [t.number(node.inputs[0])]
    if len(axes) == axes[-1] - axes[0] + 1:
        outer, length, inner = merge(shape, axes[0], len(axes))
        x = t.number(node.inputs[0])
    else:
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        x = transpose(t, t.number(node.inputs[0]), shape, [*kept, *axes])
        outer, length, inner = (math.prod(shape[axis] for axis in part) for part in (kept, axes, ()))
    laid = (outer, length) if inner == 1 else (outer, length, inner)
    return [t.layers.reduce(_REDUCTIONS[node.op_type], t.layers.reshape(x, laid), 1)]


@operator("Softmax", "LogSoftmax")
def _softmax(t: Translation, node: ir.Node) -> list[Tensor]:
    x, axis = along(t, node.inputs[0], node.attributes.get_int("axis", -1))
    made = t.layers.simple("Softmax", x, p0=axis, p1=1)
    return [made if node.op_type == "Softmax" else t.layers.unary("log", made)]


@operator("LayerNormalization")
def _layer_norm(t: Translation, node: ir.Node) -> list[Tensor]:
    shape = shape_of(node.inputs[0])
    axis = node.attributes.get_int("axis", -1) % len(shape)
    length = math.prod(shape[axis:])
    x = t.number(node.inputs[0], (math.prod(shape[:axis]), length))
    known = [t.known(value) for value in node.inputs[1:]]
    scale = known[0] if known else None
    shift = known[1] if len(known) > 1 else None
    if any(value is not None and one is None for value, one in zip(node.inputs[1:], known, strict=True)):
        raise t.error(node, "has a scale that is computed")
    return [_normed(t, x, node.attributes.get_float("epsilon", 1e-5), scale, shift)]


def _normed(
    t: Translation, x: Tensor, epsilon: float, scale: np.ndarray | None, shift: np.ndarray | None
) -> Tensor:
    """Every row of [rows, n] of mean 0 and variance 1, scaled and shifted along it."""
    import numpy as np

    length = x.shape[1]
    affine = scale is not None or shift is not None
    held = [
        _weights(np.broadcast_to(default if one is None else one.ravel(), (length,)), marked=False)
        for one, default in ((scale, np.ones(1)), (shift, np.zeros(1)))
    ]
    params: dict[int, int | float | Sequence[int]] = {0: length, 1: float(epsilon), 2: int(affine)}
    return t.layers.add("LayerNorm", [x], [x.shape], params, held if affine else [])[0]


@operator("InstanceNormalization", "GroupNormalization")
def _instance_norm(t: Translation, node: ir.Node) -> list[Tensor]:
    shape = shape_of(node.inputs[0])
    batch, channels = shape[:2]
    groups = channels if node.op_type.startswith("I") else node.attributes.get_int("num_groups")
    x = t.number(node.inputs[0], (batch * groups, math.prod(shape[2:]) * channels // groups))
    made = _normed(t, x, node.attributes.get_float("epsilon", 1e-5), None, None)
    return [_by_channel(t, node, made, shape, *(t.known(value) for value in node.inputs[1:3]))]


@operator("BatchNormalization")
def _batch_norm(t: Translation, node: ir.Node) -> list[Tensor]:
    """(x - m) s / sqrt(v + e) + b as x times one number of every channel, and another added."""
    import numpy as np

    known = [t.known(value) for value in node.inputs[1:5]]
    if any(one is None for one in known):
        raise t.error(node, "has statistics that are computed")
    scale, shift, mean, variance = (np.asarray(one, np.float64) for one in known)
    factor = scale / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    shape = shape_of(node.inputs[0])
    return [_by_channel(t, node, t.number(node.inputs[0]), shape, factor, shift - mean * factor)]


def _by_channel(
    t: Translation,
    node: ir.Node,
    x: Tensor,
    shape: Sequence[int],
    scale: np.ndarray | None,
    shift: np.ndarray | None,
) -> Tensor:
    if scale is None or shift is None:
        raise t.error(node, "has a scale that is computed")
    batch, channels, *size = shape
    laid: tuple[int, ...] = (channels, math.prod(size)) if batch == 1 else (batch, channels, math.prod(size))
    if batch == 1 and len(size) == 2:  # noqa: PLR2004 - a picture, as convolutions have it
        laid = (channels, *size)
    own = 0 if batch == 1 else 1
    column = tuple(channels if place == own else 1 for place in range(len(laid)))
    x = t.layers.reshape(x, laid)
    if not (scale == 1).all():
        x = t.layers.binary("mul", x, t.constant(scale, column))
    return t.layers.binary("add", x, t.constant(shift, column)) if shift.any() else x


@operator("CumSum")
def _cumsum(t: Translation, node: ir.Node) -> list[Tensor]:
    """By a triangle of ones."""
    import numpy as np

    known = t.known(node.inputs[1])
    if known is None:
        raise t.error(node, "goes along an axis that is computed")
    shape = shape_of(node.inputs[0])
    outer, length, inner = merge(shape, int(known.ravel()[0]))
    late = np.tri(length, k=-1 if node.attributes.get_int("exclusive", 0) else 0, dtype=np.float32)
    triangle = t.constant(late.T if node.attributes.get_int("reverse", 0) else late, (1, length, length))
    return [t.layers.matmul(triangle, t.number(node.inputs[0], (outer, length, inner)))]


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
