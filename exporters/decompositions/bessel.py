"""Bessel functions of orders 0 and 1 to the accuracy of float32: Kaiser windows and directional statistics use them.

With t = x / 3.75 for the modified ones (I) and t = x / 3 for the others (J), a polynomial in t^2 where |t| <= 1, and
beyond

    I_n(x) = e^x p(1/t) / sqrt(x),    J_n(x) = f(1/t) cos(x + theta(1/t)) / sqrt(x)

Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 9.4.1 to 9.4.6 and 9.8.1 to 9.8.4; the error
of each of its polynomials is below 2.2e-7. I_1 and J_1 are odd.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import decompositions
from edgepack.exporters.decompositions.special import in_float32, polynomial

if TYPE_CHECKING:
    import torch

_BEND_I, _BEND_J = 3.75, 3.0
# Highest power first; those of small arguments in powers of t^2.
_I0 = (0.0045813, 0.0360768, 0.2659732, 1.2067492, 3.0899424, 3.5156229, 1.0)
_I0_FAR = (
    0.00392377, -0.01647633, 0.02635537, -0.02057706, 0.00916281, -0.00157565, 0.00225319, 0.01328592, 0.39894228,
)  # fmt: skip
_I1 = (0.00032411, 0.00301532, 0.02658733, 0.15084934, 0.51498869, 0.87890594, 0.5)
_I1_FAR = (
    -0.00420059, 0.01787654, -0.02895312, 0.02282967, -0.01031555, 0.00163801, -0.00362018, -0.03988024, 0.39894228,
)  # fmt: skip
_J0 = (0.0002100, -0.0039444, 0.0444479, -0.3163866, 1.2656208, -2.2499997, 1.0)
_J0_SIZE = (0.00014476, -0.00072805, 0.00137237, -0.00009512, -0.00552740, -0.00000077, 0.79788456)
_J0_ANGLE = (0.00013558, -0.00029333, -0.00054125, 0.00262573, -0.00003954, -0.04166397, -0.78539816)
_J1 = (0.00001109, -0.00031761, 0.00443319, -0.03954289, 0.21093573, -0.56249985, 0.5)
_J1_SIZE = (-0.00020033, 0.00113653, -0.00249511, 0.00017105, 0.01659667, 0.00000156, 0.79788456)
_J1_ANGLE = (-0.00029166, 0.00079824, 0.00074348, -0.00637879, 0.00005650, 0.12499612, -2.35619449)


@decompositions.register("aten.i0.default")
@decompositions.register("aten.special_i0.default")
def i0(x: torch.Tensor) -> Any:
    """I_0."""
    return in_float32(x, lambda x: _modified(x.abs(), _I0, _I0_FAR, scaled=False))


@decompositions.register("aten.special_i0e.default")
def i0e(x: torch.Tensor) -> Any:
    """I_0 e^-|x|."""
    return in_float32(x, lambda x: _modified(x.abs(), _I0, _I0_FAR, scaled=True))


@decompositions.register("aten.special_i1.default")
def i1(x: torch.Tensor) -> Any:
    """I_1."""
    return in_float32(x, lambda x: x.sign() * _modified(x.abs(), _I1, _I1_FAR, scaled=False, odd=True))


@decompositions.register("aten.special_i1e.default")
def i1e(x: torch.Tensor) -> Any:
    """I_1 e^-|x|."""
    return in_float32(x, lambda x: x.sign() * _modified(x.abs(), _I1, _I1_FAR, scaled=True, odd=True))


@decompositions.register("aten.special_bessel_j0.default")
def j0(x: torch.Tensor) -> Any:
    """J_0."""
    return in_float32(x, lambda x: _oscillating(x.abs(), _J0, _J0_SIZE, _J0_ANGLE))


@decompositions.register("aten.special_bessel_j1.default")
def j1(x: torch.Tensor) -> Any:
    """J_1."""
    return in_float32(x, lambda x: x.sign() * _oscillating(x.abs(), _J1, _J1_SIZE, _J1_ANGLE, odd=True))


@decompositions.register("aten.kaiser_window.default")
@decompositions.register("aten.kaiser_window.periodic")
@decompositions.register("aten.kaiser_window.beta")
def kaiser_window(
    length: int,
    periodic: bool = True,  # noqa: FBT001, FBT002 - torch's schema
    beta: float = 12.0,
    *,
    dtype: torch.dtype | None = None,
    layout: Any = None,  # noqa: ARG001 - torch's schema
    device: Any = None,
    pin_memory: bool | None = None,  # noqa: ARG001 - torch's schema
) -> Any:
    """I_0(beta sqrt(1 - r^2)) / I_0(beta) [length], r from -1 to 1; a periodic one lacks the last of length + 1."""
    import torch

    if length < 2:  # noqa: PLR2004 - a single sample is 1
        return torch.ones(length, dtype=dtype, device=device)
    last = length if periodic else length - 1
    r = torch.arange(length, dtype=torch.float32, device=device) * (2.0 / last) - 1.0
    inside = torch.clamp(1.0 - r.square(), min=0.0)
    window = i0(beta * torch.sqrt(inside)) / i0(torch.full_like(r[:1], beta))
    return window.to(dtype or torch.get_default_dtype())


def _modified(
    x: torch.Tensor, near: Sequence[float], far: Sequence[float], *, scaled: bool, odd: bool = False
) -> torch.Tensor:
    """Of x >= 0; `scaled` is without e^x."""
    import torch

    small, large = torch.clamp(x, max=_BEND_I), torch.clamp(x, min=_BEND_I)
    inner = polynomial(near, (small / _BEND_I).square())
    inner = inner * small if odd else inner
    outer = polynomial(far, _BEND_I / large) / torch.sqrt(large)
    if scaled:
        return torch.where(x < _BEND_I, inner * torch.exp(-small), outer)
    return torch.where(x < _BEND_I, inner, outer * torch.exp(large))


def _oscillating(
    x: torch.Tensor,
    near: Sequence[float],
    size: Sequence[float],
    angle: Sequence[float],
    *,
    odd: bool = False,
) -> torch.Tensor:
    """Of x >= 0."""
    import torch

    small, large = torch.clamp(x, max=_BEND_J), torch.clamp(x, min=_BEND_J)
    inner = polynomial(near, (small / _BEND_J).square())
    inner = inner * small if odd else inner
    t = _BEND_J / large
    outer = polynomial(size, t) * torch.cos(large + polynomial(angle, t)) / torch.sqrt(large)
    return torch.where(x < _BEND_J, inner, outer)
