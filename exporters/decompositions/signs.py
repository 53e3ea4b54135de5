"""Parts of a floating-point number which ONNX has no operator for: the sign's bit, and mantissa and exponent.

A zero is negative when one divided by it is. The angle of (x, y) needs signs: torch's exporter gives (-1, 0) the
angle -pi, where it is pi.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgepack.exporters.decompositions.base import decompositions

if TYPE_CHECKING:
    import torch


@decompositions.register("aten.signbit.default")
def signbit(x: torch.Tensor) -> torch.Tensor:
    """Whether x is negative, -0.0 included; a NaN counts as positive, whatever its bit."""
    import torch

    if x.dtype is torch.bool:
        return torch.zeros_like(x)
    if not x.is_floating_point():
        return x < 0
    return (x < 0) | ((x == 0) & (1.0 / x < 0))


@decompositions.register("aten.copysign.Tensor")
def copysign(magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """|magnitude| with the sign of `sign`, in their common floating-point type."""
    import torch

    dtype = torch.result_type(magnitude, sign)
    if not dtype.is_floating_point:
        dtype = torch.get_default_dtype()
    size = magnitude.to(dtype).abs()
    return torch.where(signbit(sign), -size, size)


@decompositions.register("aten.hypot.default")
def hypot(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """sqrt(x^2 + y^2) = m sqrt(1 + (s / m)^2) with m the larger and s the smaller, which does not overflow."""
    import torch

    x, y = x.abs(), y.abs()
    larger, smaller = torch.maximum(x, y), torch.minimum(x, y)
    ratio = smaller / torch.where(larger == 0, 1.0, larger)
    value = larger * torch.sqrt(1.0 + ratio * ratio)
    return torch.where(torch.isinf(x) | torch.isinf(y), torch.inf, value)


@decompositions.register("aten.atan2.default")
def atan2(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The angle of the point (x, y), in [-pi, pi]: that of y / x, turned by pi where x is negative."""
    import torch

    dtype = torch.result_type(y, x)
    if not dtype.is_floating_point:
        dtype = torch.get_default_dtype()
    y, x = y.to(dtype), x.to(dtype)
    below, left = signbit(y), signbit(x)
    origin = (x == 0) & (y == 0)
    both = torch.isinf(x) & torch.isinf(y)
    # Where 0 / 0 and inf / inf would be NaN, the axis and the diagonal.
    slope = torch.where(
        both, torch.where(below == left, 1.0, -1.0).to(dtype), y / torch.where(origin, 1.0, x)
    )
    slope = torch.where(origin, 0.0, slope)
    turn = torch.where(left, torch.where(below, -math.pi, math.pi).to(dtype), 0.0)
    return torch.atan(slope) + turn


@decompositions.register("aten.frexp.Tensor")
def frexp(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """m, with 0.5 <= |m| < 1, and e (int32) of x = m 2^e; e is 0 for zero, infinities and NaN, as in torch."""
    import torch

    size = x.abs()
    plain = (size > 0) & (size < torch.inf)
    size = torch.where(plain, size, 1.0)
    guess = torch.floor(torch.log2(size))
    # In two steps: 2^e alone leaves the range for the largest and the smallest numbers.
    half = torch.floor(guess / 2)
    mantissa = size * torch.exp2(-half) * torch.exp2(half - guess)
    # The logarithm is rounded: beside a power of two it may be one too high or too low.
    high, low = mantissa >= 2.0, mantissa < 1.0  # noqa: PLR2004
    guess = guess + high.to(guess.dtype) - low.to(guess.dtype) + 1.0
    mantissa = torch.where(high, mantissa / 4.0, torch.where(low, mantissa, mantissa / 2.0))
    signed = torch.where(x < 0, -mantissa, mantissa)
    return torch.where(plain, signed, x), torch.where(plain, guess, 0.0).to(torch.int32)
