"""The sign of one bit, and the slopes that stand for its derivative, which is zero almost everywhere.

sign(v) = -1 where v < 0, else +1. So both zeros are +1, which torch.sign gives 0, and so is NaN, as the comparison
says; the operators on the device compare in the same way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def sign(values: Tensor) -> Tensor:
    """+1 and -1 of the values' dtype and shape."""
    return torch.where(values < 0, -1.0, 1.0).to(values.dtype)


class _Sign(torch.autograd.Function):
    """sign(v) forward; backward the incoming gradient times a slope that was computed with it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return sign(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None


def sign_with(values: Tensor, slope: Tensor) -> Tensor:
    """sign(values), differentiated as if its derivative was `slope`.

    Args:
        values: Of any shape.
        slope: Of the same shape; no gradient flows into it.
    """
    signs: Tensor = _Sign.apply(values, slope.detach())  # type: ignore[no-untyped-call]
    return signs


def inside(values: Tensor) -> Tensor:
    """The straight-through estimator's slope: 1 where |v| <= 1, else 0 (after Hubara et al. 2016)."""
    return (values.abs() <= 1).to(values.dtype)


def triangle(values: Tensor) -> Tensor:
    """The slope of a piecewise quadratic that approaches the sign: 2 - 2|v| where |v| < 1, else 0.

    After Liu et al. 2018 (Bi-Real Net): 2 + 2v for -1 <= v < 0, 2 - 2v for 0 <= v < 1.
    """
    return (2 - 2 * values.abs()).clamp(min=0)
