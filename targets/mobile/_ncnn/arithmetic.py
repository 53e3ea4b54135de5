"""Element by element: arithmetic, functions, and in arithmetic what ncnn has no layer for.

a > b         min(max(s (a - b), 0), 1)     s = 1 for integers, 2^126 for others: a difference that is not 0, and
a = b         1 - min(s |a - b|, 1)         that float32 holds as a normal number, is 1 at least
a >= b        1 - (b > a)
not a         1 - a                         a, b in {0, 1}
a and b       a b
a or b        max(a, b)
a xor b       |a - b|
where(c, x, y)  c x + (1 - c) y             exactly x or y where both are finite
bool(x)       min(s |x|, 1)
a // b        trunc(a / b)                  integers up to 2^24
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepack.targets.mobile._ncnn.layers import MOST, Tensor
from edgepack.targets.mobile._ncnn.translation import (
    Translation,
    finite,
    is_float,
    lay,
    operator,
    shape_of,
)

if TYPE_CHECKING:
    import onnx_ir as ir

STEEP = 2.0**126
_TWO = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Max": "max",
    "Min": "min",
    "Sum": "add",
    "And": "mul",
    "Or": "max",
}
_ONE = {
    "Abs": "abs",
    "Neg": "neg",
    "Floor": "floor",
    "Ceil": "ceil",
    "Sqrt": "sqrt",
    "Exp": "exp",
    "Log": "log",
    "Sin": "sin",
    "Cos": "cos",
    "Tan": "tan",
    "Asin": "asin",
    "Acos": "acos",
    "Atan": "atan",
    "Reciprocal": "reciprocal",
    "Tanh": "tanh",
}
_LAYERS = {
    "Relu": ("ReLU", {}),
    "Sigmoid": ("Sigmoid", {}),
    "Softplus": ("Softplus", {}),
    "Erf": ("Erf", {}),
    "Mish": ("Mish", {}),
    "HardSwish": ("HardSwish", {"p0": 1 / 6, "p1": 0.5}),
}
_POWERS = {-1.0: "reciprocal", -0.5: "rsqrt", 0.5: "sqrt", 2.0: "square"}


def together(shapes: Sequence[Sequence[int]]) -> list[tuple[int, ...]] | None:
    """Shapes that are broadcast against one another, laid with as many axes each.

    Axes that none, or the same ones, are repeated along become one where there are too many; None: that is not enough.
    """
    rank = max(map(len, shapes))
    padded = [[1] * (rank - len(shape)) + list(shape) for shape in shapes]
    columns = list(zip(*padded, strict=True)) or [(1,) * len(shapes)]
    while len(columns) > 1 and max(columns[0]) == 1:
        columns.pop(0)
    if len(columns) > MOST:
        columns = [column for column in columns if max(column) > 1] or columns[:1]
    while len(columns) > MOST:
        alike = [
            index
            for index in range(len(columns) - 1)
            if [size == max(columns[index]) for size in columns[index]]
            == [size == max(columns[index + 1]) for size in columns[index + 1]]
        ]
        if not alike:
            return None
        first = alike[0]
        columns[first : first + 2] = [
            tuple(a * b for a, b in zip(columns[first], columns[first + 1], strict=True))
        ]
    return [tuple(shape) for shape in zip(*columns, strict=True)]


def pair(t: Translation, node: ir.Node, a: ir.Value | None, b: ir.Value | None) -> list[Tensor]:
    """Two values, laid to be broadcast."""
    shapes = together([shape_of(a), shape_of(b)])
    if shapes is None:
        raise t.error(node, "repeats its inputs along more axes than ncnn's tensors have")
    return [t.number(value, shape) for value, shape in zip((a, b), shapes, strict=True)]


def joined(t: Translation, op: str, node: ir.Node, a: ir.Value | None, b: ir.Value | None) -> Tensor:
    """One of ncnn's binary operations of two values, either of which may be one constant number."""
    known = t.known(b)
    if known is not None and known.size == 1 and len(shape_of(b)) <= len(shape_of(a)):
        return t.layers.binary(op, t.number(a), float(finite(known).ravel()[0]))
    return t.layers.binary(op, *pair(t, node, a, b))


@operator(*_TWO)
def _two(t: Translation, node: ir.Node) -> list[Tensor]:
    op = _TWO[node.op_type]
    if len(node.inputs) == 1:
        return [t.number(node.inputs[0])]
    if node.op_type == "Div" and not is_float(node.outputs[0]):
        a, b = pair(t, node, *node.inputs)
        half = t.layers.binary("mul", t.layers.clip(a, -1.0, 1.0), 0.5)
        return [t.layers.unary("trunc", t.layers.binary("div", t.layers.binary("add", a, half), b))]
    if len(node.inputs) == 2:  # noqa: PLR2004 - the usual number
        return [joined(t, op, node, *node.inputs)]
    shapes = together([shape_of(value) for value in node.inputs])
    if shapes is None:
        raise t.error(node, "repeats its inputs along more axes than ncnn's tensors have")
    made, *others = (t.number(value, shape) for value, shape in zip(node.inputs, shapes, strict=True))
    for other in others:
        made = t.layers.binary(op, made, other)
    return [made]


@operator(*_ONE)
def _one(t: Translation, node: ir.Node) -> list[Tensor]:
    return [t.layers.unary(_ONE[node.op_type], t.number(node.inputs[0]))]


@operator(*_LAYERS)
def _layer(t: Translation, node: ir.Node) -> list[Tensor]:
    kind, params = _LAYERS[node.op_type]
    return [t.layers.simple(kind, t.number(node.inputs[0]), **params)]


@operator("LeakyRelu")
def _leaky(t: Translation, node: ir.Node) -> list[Tensor]:
    return [t.layers.simple("ReLU", t.number(node.inputs[0]), p0=node.attributes.get_float("alpha", 0.01))]


@operator("Elu")
def _elu(t: Translation, node: ir.Node) -> list[Tensor]:
    return [t.layers.simple("ELU", t.number(node.inputs[0]), p0=node.attributes.get_float("alpha", 1.0))]


@operator("HardSigmoid")
def _hard_sigmoid(t: Translation, node: ir.Node) -> list[Tensor]:
    slope, offset = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
    return [t.layers.simple("HardSigmoid", t.number(node.inputs[0]), p0=slope, p1=offset)]


@operator("PRelu")
def _prelu(t: Translation, node: ir.Node) -> list[Tensor]:
    """max(x, 0) + slope min(x, 0)."""
    x, slope = pair(t, node, *node.inputs)
    low = t.layers.binary("min", x, 0.0)
    return [t.layers.binary("add", t.layers.binary("max", x, 0.0), t.layers.binary("mul", low, slope))]


@operator("Gelu")
def _gelu(t: Translation, node: ir.Node) -> list[Tensor]:
    fast = node.attributes.get_string("approximate", "none") == "tanh"
    return [t.layers.simple("GELU", t.number(node.inputs[0]), p0=int(fast))]


@operator("Identity", "Dropout")
def _same(t: Translation, node: ir.Node) -> list[Tensor]:
    return [t.number(node.inputs[0])]


@operator("Clip")
def _clip(t: Translation, node: ir.Node) -> list[Tensor]:
    made = t.number(node.inputs[0])
    for op, value in zip(("max", "min"), node.inputs[1:], strict=False):
        if value is None:
            continue
        known = t.known(value)
        if known is None:
            raise t.error(node, "has a bound that is computed")
        made = t.layers.binary(op, made, float(finite(known).ravel()[0]))
    return [made]


@operator("Pow")
def _pow(t: Translation, node: ir.Node) -> list[Tensor]:
    """Of a constant: by products where they do, because ncnn's power goes through logarithms."""
    known = t.known(node.inputs[1])
    power = float(known.ravel()[0]) if known is not None and known.size == 1 else None
    if power is None:
        return [joined(t, "pow", node, *node.inputs)]
    x = t.number(node.inputs[0])
    if power in _POWERS:
        return [t.layers.unary(_POWERS[power], x)]
    if power in {3.0, 4.0}:
        square = t.layers.unary("square", x)
        return [t.layers.binary("mul", square, x if power == 3.0 else square)]  # noqa: PLR2004 - x^3
    return [t.layers.binary("pow", x, power)]


def above(t: Translation, a: Tensor, b: Tensor | float, *, whole: bool) -> Tensor:
    """A > b; `whole`: both are integers."""
    apart = t.layers.binary("sub", a, b)
    return t.layers.clip(apart if whole else t.layers.binary("mul", apart, STEEP))


def differ(t: Translation, a: Tensor, b: Tensor | float, *, whole: bool) -> Tensor:
    """1 where they are not the same."""
    apart = t.layers.unary("abs", t.layers.binary("sub", a, b))
    return t.layers.binary("min", apart if whole else t.layers.binary("mul", apart, STEEP), 1.0)


def reverse(t: Translation, x: Tensor) -> Tensor:
    """1 - x."""
    return t.layers.binary("add", t.layers.unary("neg", x), 1.0)


@operator("Greater", "Less", "GreaterOrEqual", "LessOrEqual")
def _compare(t: Translation, node: ir.Node) -> list[Tensor]:
    a, b = pair(t, node, *node.inputs)
    if node.op_type in {"Less", "GreaterOrEqual"}:
        a, b = b, a
    made = above(t, a, b, whole=not is_float(node.inputs[0]))
    return [reverse(t, made) if node.op_type.endswith("OrEqual") else made]


@operator("Equal")
def _equal(t: Translation, node: ir.Node) -> list[Tensor]:
    whole = not is_float(node.inputs[0])
    return [reverse(t, differ(t, *pair(t, node, *node.inputs), whole=whole))]


@operator("Not")
def _not(t: Translation, node: ir.Node) -> list[Tensor]:
    return [reverse(t, t.number(node.inputs[0]))]


@operator("Xor")
def _xor(t: Translation, node: ir.Node) -> list[Tensor]:
    return [t.layers.unary("abs", joined(t, "sub", node, *node.inputs))]


@operator("Sign")
def _sign(t: Translation, node: ir.Node) -> list[Tensor]:
    x = t.number(node.inputs[0])
    if is_float(node.inputs[0]):
        x = t.layers.binary("mul", x, STEEP)
    return [t.layers.clip(x, -1.0, 1.0)]


@operator("Cast")
def _cast(t: Translation, node: ir.Node) -> list[Tensor]:
    import onnx_ir as ir

    x, before = t.number(node.inputs[0]), node.inputs[0]
    after = ir.DataType(node.attributes.get_int("to"))
    if after is ir.DataType.BOOL and before is not None and before.dtype is not ir.DataType.BOOL:
        return [differ(t, x, 0.0, whole=not is_float(before))]
    if is_float(before) and not after.is_floating_point():
        return [t.layers.unary("trunc", x)]
    return [x]


@operator("Where")
def _where(t: Translation, node: ir.Node) -> list[Tensor]:
    """C x + (1 - c) y, without the terms that are 0."""
    shapes = together([shape_of(value) for value in node.inputs])
    if shapes is None:
        raise t.error(node, "repeats its inputs along more axes than ncnn's tensors have")
    mask = t.number(node.inputs[0], shapes[0])
    terms = []
    for value, shape, chosen in zip(node.inputs[1:], shapes[1:], (True, False), strict=True):
        known = t.known(value)
        if known is not None and not known.any():
            continue
        share = mask if chosen else reverse(t, mask)
        if known is not None and known.size == 1:
            terms.append(t.layers.binary("mul", share, float(finite(known).ravel()[0])))
        else:
            terms.append(t.layers.binary("mul", share, t.number(value, shape)))
    if not terms:
        terms = [t.layers.binary("mul", mask, 0.0)]
    made = t.layers.binary("add", *terms) if len(terms) > 1 else terms[0]
    whole = lay(shape_of(node.outputs[0]))
    if made.size != math.prod(whole):  # the other value was as large as the result, and 0
        most = [max(sizes) for sizes in zip(*shapes, strict=True)]
        made = t.layers.tile(made, [a // b for a, b in zip(most, made.shape, strict=True)])
    return [made]
