"""Elementary functions of z = x + iy.

    exp z = e^x (cos y + i sin y)              log z = log|z| + i arg z
    sin z = sin x cosh y + i cos x sinh y      cos z = cos x cosh y - i sin x sinh y
    sqrt z = (x + |z|) / t + i y / t,  t = sqrt(2 (|z| + |x|)),  with the parts exchanged for x < 0
    tanh z = (sinh 2x + i sin 2y) / (cosh 2x + cos 2y)

sinh z = -i sin(iz) and cosh z = cos(iz). Source of the identities: DLMF, 4.21, 4.35 and 4.37.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.pairs.arithmetic import absolute, angle, mul, reciprocal
from edgepack.exporters.pairs.base import Pair, rules

if TYPE_CHECKING:
    from collections.abc import Callable

_TANH_FLAT = 10.0
"""Where tanh is 1 in float32, and e^2x still far from overflowing."""


@rules.register("aten.exp")
def exp(z: Pair) -> Pair:
    """e^z."""
    size = z.re.exp()
    return Pair(size * z.im.cos(), size * z.im.sin())


@rules.register("aten.expm1")
def expm1(z: Pair) -> Pair:
    """e^z - 1, exact near 0: e^x cos y - 1 = (e^x - 1) cos y - 2 sin^2(y / 2)."""
    re = z.re.expm1() * z.im.cos() - 2.0 * (0.5 * z.im).sin().square()
    return Pair(re, z.re.exp() * z.im.sin())


@rules.register("aten.log")
def log(z: Pair) -> Pair:
    """The principal logarithm."""
    return Pair(absolute(z).log(), angle(z))


def _in_base(factor: float) -> Callable[[Pair], Pair]:
    def rule(z: Pair) -> Pair:
        result = log(z)
        return Pair(result.re * factor, result.im * factor)

    return rule


rules.register("aten.log2")(_in_base(1.4426950408889634))
rules.register("aten.log10")(_in_base(0.4342944819032518))


@rules.register("aten.log1p")
def log1p(z: Pair) -> Pair:
    """The logarithm of 1 + z, exact near 0, where |1 + z|^2 - 1 = 2x + x^2 + y^2."""
    import torch

    near = 0.5 * torch.log1p(2.0 * z.re + z.re.square() + z.im.square())
    shifted = Pair(z.re + 1.0, z.im)
    large = (z.re.abs() > 1.0) | (z.im.abs() > 1.0)
    return Pair(torch.where(large, absolute(shifted).log(), near), angle(shifted))


@rules.register("aten.sqrt")
def sqrt(z: Pair) -> Pair:
    """The root with a real part that is not negative."""
    import torch

    t = torch.sqrt(2.0 * (absolute(z) + z.re.abs()))
    half = 0.5 * t
    other = torch.where(t == 0, 0.0, z.im / torch.where(t == 0, 1.0, t))
    left = z.re < 0
    return Pair(
        torch.where(left, other.abs(), half),
        torch.where(left, torch.where(z.im < 0, -half, half), other),
    )


@rules.register("aten.rsqrt")
def rsqrt(z: Pair) -> Pair:
    """1 / sqrt z."""
    inverted: Pair = reciprocal(sqrt(z))
    return inverted


@rules.register("aten.sin")
def sin(z: Pair) -> Pair:
    """The sine."""
    return Pair(z.re.sin() * z.im.cosh(), z.re.cos() * z.im.sinh())


@rules.register("aten.cos")
def cos(z: Pair) -> Pair:
    """The cosine."""
    return Pair(z.re.cos() * z.im.cosh(), -(z.re.sin() * z.im.sinh()))


@rules.register("aten.sinh")
def sinh(z: Pair) -> Pair:
    """The hyperbolic sine."""
    return Pair(z.re.sinh() * z.im.cos(), z.re.cosh() * z.im.sin())


@rules.register("aten.cosh")
def cosh(z: Pair) -> Pair:
    """The hyperbolic cosine."""
    return Pair(z.re.cosh() * z.im.cos(), z.re.sinh() * z.im.sin())


@rules.register("aten.tanh")
def tanh(z: Pair) -> Pair:
    """The hyperbolic tangent, its real part held where it is flat."""
    x = 2.0 * z.re.clamp(-_TANH_FLAT, _TANH_FLAT)
    y = 2.0 * z.im
    below = x.cosh() + y.cos()
    return Pair(x.sinh() / below, y.sin() / below)


@rules.register("aten.tan")
def tan(z: Pair) -> Pair:
    """Tan z = -i tanh(iz)."""
    turned = tanh(Pair(-z.im, z.re))
    return Pair(turned.im, -turned.re)


@rules.register("aten.sigmoid")
def sigmoid(z: Pair) -> Pair:
    """(1 + tanh(z / 2)) / 2."""
    half = tanh(Pair(0.5 * z.re, 0.5 * z.im))
    return Pair(0.5 + 0.5 * half.re, 0.5 * half.im)


@rules.register("aten.silu")
def silu(z: Pair) -> Any:
    """Z sigmoid(z)."""
    return mul(z, sigmoid(z))
