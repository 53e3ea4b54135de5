"""Products of matrices, contractions and convolutions: anything that is linear in each of two operands.

f(a + ib, c + id) = f(a, c) - f(b, d) + i (f(a, d) + f(b, c))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgepack.exporters.pairs.arithmetic import conj, mul
from edgepack.exporters.pairs.base import Pair, cast, pair_of, paired, parts, rules

_PRODUCTS = (
    "matmul",
    "linalg_matmul",
    "mm",
    "bmm",
    "mv",
    "dot",
    "outer",
    "ger",
    "inner",
    "kron",
    "tensordot",
)
_CONVOLUTIONS = (
    "convolution", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
)  # fmt: skip


def _operator(name: str) -> Any:
    import torch

    return getattr(torch.ops.aten, name)


def bilinear(function: Callable[[Any, Any], Any], a: Any, b: Any) -> Pair:
    """`function` of two operands, either of which may be real."""
    import torch

    dtype = next(v.re.dtype for v in (a, b) if isinstance(v, Pair))
    (a_re, a_im), (b_re, b_im) = (
        tuple(cast(p, dtype) if isinstance(p, torch.Tensor) else p for p in parts(v)) for v in (a, b)
    )
    re = function(a_re, b_re)
    if a_im is None:
        return paired(re, function(a_re, b_im))
    if b_im is None:
        return paired(re, function(a_im, b_re))
    return Pair(re - function(a_im, b_im), function(a_re, b_im) + function(a_im, b_re))


def _product(name: str) -> Callable[..., Pair]:
    def rule(a: Any, b: Any, *args: Any, **kwargs: Any) -> Pair:
        return bilinear(lambda x, y: _operator(name)(x, y, *args, **kwargs), a, b)

    return rule


for _name in _PRODUCTS:
    rules.register(f"aten.{_name}")(_product(_name))


@rules.register("aten.vdot")
def vdot(a: Any, b: Any) -> Pair:
    """The product with the conjugate of a."""
    import torch

    return bilinear(torch.dot, conj(pair_of(a)), b)


def _convolution(name: str) -> Callable[..., Any]:
    def rule(x: Any, weight: Any, bias: Any = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(args[1] if len(args) > 1 else kwargs.get("padding"), str):
            operator = getattr(_operator(name), "padding")  # noqa: B009 - an overload's name
        else:
            operator = _operator(name)
        result = bilinear(lambda u, v: operator(u, v, None, *args, **kwargs), x, weight)
        if bias is None:
            return result
        dims = weight.ndim - 2
        b_re, b_im = parts(bias)
        shape = (-1, *(1 for _ in range(dims)))
        im = result.im if b_im is None else result.im + b_im.reshape(shape)
        return Pair(result.re + b_re.reshape(shape), im)

    return rule


for _name in _CONVOLUTIONS:
    rules.register(f"aten.{_name}")(_convolution(_name))


@rules.register("aten.linear")
def linear(x: Any, weight: Any, bias: Any = None) -> Pair:
    """X W^T + b."""
    import torch

    result = bilinear(torch.ops.aten.linear, x, weight)
    return result if bias is None else _plus(result, bias)


def _plus(z: Pair, other: Any) -> Pair:
    re, im = parts(other)
    return paired(z.re + re, z.im if im is None else z.im + im)


def _added(name: str) -> Callable[..., Pair]:
    """Beta c + alpha a b."""

    def rule(c: Any, a: Any, b: Any, *, beta: complex = 1, alpha: complex = 1) -> Pair:
        product = bilinear(_operator(name), a, b)
        if alpha != 1:
            product = mul(product, alpha)
        return _plus(product, c if beta == 1 else mul(c, beta))

    return rule


for _name, _inner in (("addmm", "mm"), ("baddbmm", "bmm"), ("addmv", "mv"), ("addr", "outer")):
    rules.register(f"aten.{_name}")(_added(_inner))


@rules.register("aten.einsum")
def einsum(equation: str, operands: list[Any], **_: object) -> Any:
    """A contraction of one operand or two, more of them one after the other."""
    import torch

    if len(operands) == 1:
        z = operands[0]
        return Pair(torch.einsum(equation, z.re), torch.einsum(equation, z.im))
    if len(operands) == 2:  # noqa: PLR2004
        return bilinear(lambda a, b: torch.einsum(equation, a, b), *operands)
    if "..." in equation or "->" not in equation:
        return NotImplemented
    terms, out = equation.replace(" ", "").split("->")
    names = terms.split(",")
    # What neither the output nor a later operand asks for is summed on the way.
    kept = "".join(
        c for c in dict.fromkeys(names[0] + names[1]) if c in out or any(c in n for n in names[2:])
    )
    both = f"{names[0]},{names[1]}->{kept}"
    first = (
        bilinear(lambda a, b: torch.einsum(both, a, b), *operands[:2])
        if any(isinstance(v, Pair) for v in operands[:2])
        else torch.einsum(both, *operands[:2])
    )
    return einsum(f"{','.join([kept, *names[2:]])}->{out}", [first, *operands[2:]])
