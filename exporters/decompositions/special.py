"""Special functions to the accuracy of float32; float16 and bfloat16 are computed in float32, float64 is declined.

- erfinv: x p(w), w = -log(1 - x^2), two polynomials. M. Giles, "Approximating the erfinv function", GPU
  Computing Gems, Jade edition, 2012, table 5 (relative error 3e-7).
- lgamma: Lanczos' series, g = 7 with nine terms, and Euler's reflection below 1/2. C. Lanczos, "A precision
  approximation of the gamma function", SIAM J. Numer. Anal. B 1, 1964; coefficients by P. Godfrey.
- digamma: six steps of psi(x) = psi(x + 1) - 1/x, then the asymptotic series, and reflection below zero.
  Abramowitz and Stegun 6.3.5, 6.3.7 and 6.3.18.
- polygamma, for x > 0: psi^(n)(x) = (-1)^(n + 1) n! zeta(n + 1, x), with Hurwitz' zeta by nine terms and the
  Euler-Maclaurin formula for the rest. Abramowitz and Stegun 6.4.10 and 23.1.30.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import decompositions

if TYPE_CHECKING:
    import torch

_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip
_LANCZOS = (
    676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
)  # fmt: skip
_LANCZOS_G = 7.0
# B_2k / 2k of the asymptotic series, highest first, in powers of 1/x^2
_DIGAMMA = (1 / 240, -1 / 252, 1 / 120, -1 / 12)
_SHIFT = 6
# B_2k / (2k)!, from k = 1
_EULER_MACLAURIN = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600)
_TERMS = 9


@decompositions.register("aten.erfinv.default")
def erfinv(x: torch.Tensor) -> Any:
    """The inverse of erf: infinite at -1 and 1, NaN beyond."""
    import torch

    def formula(x: torch.Tensor) -> torch.Tensor:
        w = -torch.log((1.0 - x) * (1.0 + x))
        centre = polynomial(_CENTRE, w - 2.5)
        tail = polynomial(_TAIL, torch.sqrt(torch.clamp(w, min=5.0)) - 3.0)
        y = torch.where(w < 5.0, centre, tail) * x  # noqa: PLR2004 - where the polynomials meet
        return torch.where(x.abs() == 1.0, x * torch.inf, y)

    return in_float32(x, formula)


@decompositions.register("aten.lgamma.default")
def lgamma(x: torch.Tensor) -> Any:
    """Logarithm of |Gamma(x)|, to an absolute error of some 1e-6 (relative, where it is large)."""
    import torch

    def formula(x: torch.Tensor) -> torch.Tensor:
        low = x < 0.5  # noqa: PLR2004 - reflection
        z = torch.where(low, 1.0 - x, x) - 1.0
        series = torch.full_like(z, 0.99999999999980993)
        for i, c in enumerate(_LANCZOS):
            series = series + c / (z + (i + 1))
        t = z + (_LANCZOS_G + 0.5)
        # (z + 1/2) log t - t, ordered so that neither overflows before the other
        upper = (
            0.5 * math.log(2 * math.pi) + (z + 0.5) * (torch.log(t) - 1.0) - _LANCZOS_G + torch.log(series)
        )
        # sin has the period of x: a remainder keeps its argument small and the poles exact
        lower = math.log(math.pi) - torch.log(torch.sin(math.pi * (x - torch.floor(x))).abs()) - upper
        value = torch.where(low, lower, upper)
        return torch.where(torch.isinf(x) | (low & (x == torch.floor(x))), torch.inf, value)

    return in_float32(x, formula)


@decompositions.register("aten.digamma.default")
def digamma(x: torch.Tensor) -> Any:
    """The derivative of log Gamma; -inf at 0, +inf at -0, and NaN at the other poles, as in torch."""
    import torch

    def formula(x: torch.Tensor) -> torch.Tensor:
        negative = x < 0
        z = torch.where(negative, 1.0 - x, x)
        shifted = z
        value = torch.zeros_like(z)
        for _ in range(_SHIFT):
            value = value - 1.0 / shifted
            shifted = shifted + 1.0
        inverse = 1.0 / (shifted * shifted)
        value = value + torch.log(shifted) - 0.5 / shifted + inverse * polynomial(_DIGAMMA, inverse)
        part = x - torch.floor(x)
        reflected = value - math.pi / torch.tan(math.pi * part)
        value = torch.where(negative, torch.where(part == 0, torch.nan, reflected), value)
        return torch.where(x == 0, -1.0 / x, value)

    return in_float32(x, formula)


@decompositions.register("aten.polygamma.default")
def polygamma(n: int, x: torch.Tensor) -> Any:
    """The n-th derivative of digamma for x > 0; NaN below zero, and infinite at it."""
    import torch

    if n == 0:
        return digamma(x)

    def formula(x: torch.Tensor) -> torch.Tensor:
        s = float(n + 1)
        end = x + _TERMS
        value = sum(((x + k) ** -s for k in range(1, _TERMS)), x**-s)
        value = value + end ** (1.0 - s) / n + 0.5 * end**-s
        rising = s
        for k, factor in enumerate(_EULER_MACLAURIN):
            value = value + factor * rising * end ** -(s + 2 * k + 1)
            rising *= (s + 2 * k + 1) * (s + 2 * k + 2)
        value = (1.0 if n % 2 else -1.0) * math.factorial(n) * value
        return torch.where(x < 0, torch.nan, value)

    return in_float32(x, formula)


def polynomial(coefficients: Sequence[float], x: torch.Tensor) -> torch.Tensor:
    """By Horner's rule, the highest power's coefficient first."""
    import torch

    value = torch.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        value = value * x + c
    return value


def in_float32(x: torch.Tensor, formula: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The formula's value for float32, float16, bfloat16 and whole numbers; other types are declined."""
    import torch

    if x.dtype in {torch.float64, torch.complex64, torch.complex128}:
        return NotImplemented
    result = formula(x.to(torch.float32))
    return result.to(x.dtype) if x.is_floating_point() else result
