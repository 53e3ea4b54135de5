"""Products of matrices, and running sums as products with a triangle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepack.targets.mobile._ncnn.arithmetic import together
from edgepack.targets.mobile._ncnn.layers import MOST, Tensor, merge
from edgepack.targets.mobile._ncnn.translation import Translation, held_as, operator, shape_of

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir


def linear(t: Translation, x: Tensor, weight: np.ndarray, bias: np.ndarray | None) -> Tensor:
    """X W^T + b for x [M, K], W [N, K], b [N].

    Of a single row too: ncnn has a layer of its own for that, whose int8 form needs the input's range beforehand, where
    `Gemm` finds it at every call, and rounded decoding steps with larger errors.
    """
    rows, depth = x.shape
    width, has = len(weight), int(bias is not None)
    held = [held_as(one, marked=True) for one in (weight, bias) if one is not None]
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
