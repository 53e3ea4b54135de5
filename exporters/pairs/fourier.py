"""Fourier transforms as products with the transform's matrix.

    X_k = sum_j x_j w^(jk),  w = exp(-2 pi i / n)

A runtime multiplies matrices anywhere; its DFT operator, where there is one, is slower up to about n = 1000
and, for lengths that are no power of two, inexact (ONNX Runtime 1.31, n = 1000: 0.03 of values around 30, the
product 0.00004; tests/benchmarks/test_choices.py). A long known length n = a b is split: b transforms of length
a, a rotation, a transforms of length b (Cooley and Tukey, 1965). A length that varies has its matrix computed
when the graph runs: n^2 numbers. The integer jk is taken modulo n before it becomes an angle, which keeps
float32 exact for any n.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgepack.exporters.pairs.arithmetic import conj, mul
from edgepack.exporters.pairs.base import Pair, parts, rules

if TYPE_CHECKING:
    import torch

DENSE = 1024
"""Longest known length that is one product."""


def transform(x: Any, dim: int, n: Any, *, bins: Any = None, inverse: bool = False) -> Pair:
    """The unscaled transform along `dim`, of length `n`: the first `bins` of its outputs.

    Args:
        x: A pair or a real tensor, zeros behind its end up to n, cut there when it is longer.
        dim: The axis.
        n: The length, which may be symbolic.
        bins: How many outputs; all when None.
        inverse: Whether with exp(+2 pi i / n).
    """
    re, im = (None if part is None else _resized(part, n, dim).movedim(dim, -1) for part in parts(x))
    assert re is not None  # noqa: S101 - a pair or a tensor
    bins = n if bins is None else bins
    result = _along_last(re, im, n, bins, -1.0 if inverse else 1.0)
    return Pair(result.re.movedim(-1, dim), result.im.movedim(-1, dim))


def _along_last(re: torch.Tensor, im: torch.Tensor | None, n: Any, bins: Any, sign: float) -> Pair:
    """With w = exp(-sign 2 pi i / n) = c + is: re c - im s and re s + im c."""
    import torch

    split = _factors(n) if isinstance(n, int) and n > DENSE else None
    if split is not None:
        return _split(re, im, split, bins, sign)
    c, s = matrix(n, bins, n, re, sign)
    if im is None:
        return Pair(re @ c, re @ s)
    both = torch.cat([re, im], -1)
    return Pair(both @ torch.cat([c, -s], 0), both @ torch.cat([s, c], 0))


def _split(re: torch.Tensor, im: torch.Tensor | None, split: tuple[int, int], bins: Any, sign: float) -> Pair:
    """By Cooley and Tukey: j = j1 b + j2 and k = k2 a + k1."""
    a, b = split
    rows = [None if part is None else part.reshape(*part.shape[:-1], a, b).mT for part in (re, im)]
    inner = _along_last(rows[0], rows[1], a, a, sign)  # type: ignore[arg-type]
    turned = mul(inner, Pair(*matrix(b, a, a * b, re, sign)))
    outer = _along_last(turned.re.mT, turned.im.mT, b, b, sign)
    re, im = (part.mT.flatten(-2) for part in (outer.re, outer.im))
    return Pair(re.narrow(-1, 0, bins), im.narrow(-1, 0, bins))


def _factors(n: int) -> tuple[int, int] | None:
    """Two factors of n, as near to one another as they can be; None when the smaller one is 1."""
    a = next(a for a in range(math.isqrt(n), 0, -1) if n % a == 0)
    return None if a == 1 else (a, n // a)


def matrix(
    rows: Any, columns: Any, n: Any, like: torch.Tensor, sign: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cos and sin of -sign 2 pi jk / n, [rows, columns]; constants where the sizes are known.

    Where an angle is a multiple of pi its sine is +0 exactly: the angle of a real spectrum's first and middle
    bin would jump otherwise.
    """
    import numpy as np
    import torch

    if isinstance(rows, int) and isinstance(columns, int) and isinstance(n, int):
        counts = np.outer(np.arange(rows), np.arange(columns)) % n
        angles = counts * (-sign * 2.0 * math.pi / n)
        sines = np.where(2 * counts % n == 0, 0.0, np.sin(angles))
        return torch.from_numpy(np.cos(angles)).to(like.dtype), torch.from_numpy(sines).to(like.dtype)
    # A tensor: the exporter does not translate a remainder by a size.
    length = torch.full((), n, dtype=torch.int64)
    turns = (torch.arange(rows).unsqueeze(1) * torch.arange(columns)) % length
    angle = turns.to(like.dtype) * (-sign * 2.0 * math.pi) / length.to(like.dtype)
    return angle.cos(), torch.where(2 * turns % length == 0, 0.0, angle.sin())


def _resized(x: torch.Tensor, n: Any, dim: int) -> torch.Tensor:
    """Cut or filled with zeros to the length n."""
    import torch

    length = x.shape[dim]
    if length == n:
        return x
    if length > n:
        return x.narrow(dim, 0, n)
    behind = [0, 0] * (x.ndim - 1 - dim % x.ndim) + [0, n - length]
    return torch.nn.functional.pad(x, behind)


def to_real(z: Pair, dim: int, n: Any) -> torch.Tensor:
    """The unscaled inverse of a spectrum's first n // 2 + 1 bins, whose other half is its mirror image.

    x_j = sum_k w_k (re_k cos - im_k sin),  w_0 = w_(n/2) = 1 and 2 otherwise
    """
    import torch

    bins = n // 2 + 1
    re, im = (_resized(part, bins, dim).movedim(dim, -1) for part in (z.re, z.im))
    k = torch.arange(bins)
    once = (k == 0) | (2 * k == torch.full((), n, dtype=torch.int64))
    weight = torch.where(once, 1.0, 2.0).to(re.dtype)
    if isinstance(n, int) and n > DENSE and _factors(n) is not None:
        # The missing bins are zeros: half of what is real of the doubled rest.
        zeros = n - bins
        full = [torch.nn.functional.pad(part * weight, [0, zeros]) for part in (re, im)]
        return _along_last(full[0], full[1], n, n, -1.0).re.movedim(-1, dim)
    c, s = matrix(bins, n, n, re, -1.0)
    joined = torch.cat([c * weight.unsqueeze(-1), -s * weight.unsqueeze(-1)], 0)
    return (torch.cat([re, im], -1) @ joined).movedim(-1, dim)


def _scale(norm: str | None, n: Any, *, inverse: bool) -> Any:
    if norm == "ortho":
        return _number(n) ** -0.5
    return 1.0 / _number(n) if (norm == "forward") != inverse else 1.0


def _number(n: Any) -> Any:
    """A length as a number or, where it varies, as a tensor of one."""
    import torch

    return float(n) if isinstance(n, int) else torch.full((), n, dtype=torch.float32)


def _times(x: Any, factor: Any) -> Any:
    if isinstance(factor, float) and factor == 1.0:
        return x
    return Pair(x.re * factor, x.im * factor) if isinstance(x, Pair) else x * factor


def _as_real(x: Any) -> Any:
    import torch

    return x if isinstance(x, Pair) or x.is_floating_point() else x.to(torch.get_default_dtype())


def _length(x: Any, dim: int, n: Any) -> Any:
    return x.shape[dim] if n is None else n


@rules.register("aten.fft_fft")
def fft(x: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> Pair:
    """The transform along one axis."""
    n, x = _length(x, dim, n), _as_real(x)
    scaled: Pair = _times(transform(x, dim, n), _scale(norm, n, inverse=False))
    return scaled


@rules.register("aten.fft_ifft")
def ifft(x: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> Pair:
    """Its inverse."""
    n, x = _length(x, dim, n), _as_real(x)
    scaled: Pair = _times(transform(x, dim, n, inverse=True), _scale(norm, n, inverse=True))
    return scaled


@rules.register("aten.fft_rfft")
def rfft(x: torch.Tensor, n: Any = None, dim: int = -1, norm: str | None = None) -> Pair:
    """The first n // 2 + 1 bins of a real signal's transform."""
    n, x = _length(x, dim, n), _as_real(x)
    scaled: Pair = _times(transform(x, dim, n, bins=n // 2 + 1), _scale(norm, n, inverse=False))
    return scaled


@rules.register("aten.fft_irfft")
def irfft(z: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> torch.Tensor:
    """The real signal of n // 2 + 1 bins."""
    n = 2 * (z.shape[dim] - 1) if n is None else n
    z = z if isinstance(z, Pair) else Pair(z, z * 0)
    signal: torch.Tensor = _times(to_real(z, dim, n), _scale(norm, n, inverse=True))
    return signal


@rules.register("aten.fft_hfft")
def hfft(z: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> torch.Tensor:
    """The real spectrum of half a signal whose other half is its mirror image."""
    n = 2 * (z.shape[dim] - 1) if n is None else n
    z = z if isinstance(z, Pair) else Pair(z, z * 0)
    spectrum: torch.Tensor = _times(to_real(conj(z), dim, n), _scale(norm, n, inverse=False))
    return spectrum


@rules.register("aten.fft_ihfft")
def ihfft(x: torch.Tensor, n: Any = None, dim: int = -1, norm: str | None = None) -> Pair:
    """Its inverse."""
    n, x = _length(x, dim, n), _as_real(x)
    scaled: Pair = _times(conj(transform(x, dim, n, bins=n // 2 + 1)), _scale(norm, n, inverse=True))
    return scaled


def _axes(x: Any, sizes: Any, dims: Any) -> tuple[list[int], list[Any]]:
    """The axes and, for each, the length that was asked for."""
    if dims is None:
        dims = range(-len(sizes), 0) if sizes is not None else range(-x.ndim, 0)
    dims = list(dims)
    return dims, list(sizes) if sizes is not None else [None] * len(dims)


@rules.register("aten.fft_fft2")
def fft2(x: Any, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
    """Over two axes."""
    return fftn(x, s, dim, norm)


@rules.register("aten.fft_fftn")
def fftn(x: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
    """Over several axes, or all."""
    for axis, n in zip(*_axes(x, s, dim), strict=True):
        x = fft(x, n, axis, norm)
    return x


@rules.register("aten.fft_ifft2")
def ifft2(x: Any, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
    """Over two axes."""
    return ifftn(x, s, dim, norm)


@rules.register("aten.fft_ifftn")
def ifftn(x: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
    """Over several axes, or all."""
    for axis, n in zip(*_axes(x, s, dim), strict=True):
        x = ifft(x, n, axis, norm)
    return x


@rules.register("aten.fft_rfft2")
def rfft2(x: torch.Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
    """Over two axes of a real tensor."""
    return rfftn(x, s, dim, norm)


@rules.register("aten.fft_rfftn")
def rfftn(x: torch.Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
    """Over several axes of a real tensor; the last one is halved."""
    dims, sizes = _axes(x, s, dim)
    z: Any = rfft(x, sizes[-1], dims[-1], norm)
    for axis, n in zip(dims[:-1], sizes[:-1], strict=True):
        z = fft(z, n, axis, norm)
    return z


@rules.register("aten.fft_irfft2")
def irfft2(z: Any, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
    """Over two axes."""
    return irfftn(z, s, dim, norm)


@rules.register("aten.fft_irfftn")
def irfftn(z: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
    """Over several axes; the last one was halved."""
    dims, sizes = _axes(z, s, dim)
    for axis, n in zip(dims[:-1], sizes[:-1], strict=True):
        z = ifft(z, n, axis, norm)
    return irfft(z, sizes[-1], dims[-1], norm)
