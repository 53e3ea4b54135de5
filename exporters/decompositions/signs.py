"""Sign bits, which ONNX has no operator for: a zero is negative when one divided by it is."""

from __future__ import annotations

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
