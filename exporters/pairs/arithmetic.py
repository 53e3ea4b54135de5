"""Sums, products, quotients, powers, comparisons.

    (a + ib)(c + id) = (ac - bd) + i(ad + bc),      1 / z = conj(z) / |z|^2,
    |z| = hypot(re, im),    arg z = atan2(im, re),    z^w = exp(w log z)

The squares are taken of parts divided by the larger of them: |z|^2 overflows from 1.8e19 on in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.pairs.base import Pair, paired, parts, rules

if TYPE_CHECKING:
    import torch

_MAX_POWER = 16
"""Largest whole power that is multiplied out."""


def _sum(a: Any, b: Any, factor: Any) -> Pair:
    """The sum a + factor b."""
    if factor != 1:
        b = mul(b, factor) if isinstance(b, Pair) or isinstance(factor, complex) else b * factor
    (a_re, a_im), (b_re, b_im) = parts(a), parts(b)
    im = b_im if a_im is None else a_im if b_im is None else a_im + b_im
    return paired(_tensor(a_re + b_re, a, b), im)


def _tensor(value: Any, *likes: Any) -> torch.Tensor:
    """A part as a tensor of the pairs' dtype."""
    import torch

    like = next((z.re for z in likes if isinstance(z, Pair)), None)
    if not isinstance(value, torch.Tensor):
        return torch.full_like(like, value) if like is not None else torch.tensor(value)
    if not value.is_floating_point():
        return value.to(like.dtype if like is not None else torch.get_default_dtype())
    return value


@rules.register("aten.add")
def add(a: Any, b: Any, *, alpha: complex = 1) -> Pair:
    """The sum a + alpha b."""
    return _sum(a, b, alpha)


@rules.register("aten.sub")
@rules.register("aten.subtract")
def sub(a: Any, b: Any, *, alpha: complex = 1) -> Pair:
    """The difference a - alpha b."""
    return _sum(a, b, -alpha)


@rules.register("aten.rsub")
def rsub(a: Any, b: Any, alpha: complex = 1) -> Pair:
    """The difference b - alpha a."""
    return _sum(b, a, -alpha)


@rules.register("aten.mul")
@rules.register("aten.multiply")
def mul(a: Any, b: Any) -> Pair:
    """The product, of two multiplications when one of the factors is real."""
    (a_re, a_im), (b_re, b_im) = parts(a), parts(b)
    if isinstance(b, complex) or isinstance(a, complex):
        return _times(a if isinstance(b, complex) else b, b if isinstance(b, complex) else a)
    if a_im is None and b_im is None:
        return paired(_tensor(a_re * b_re), None)
    if b_im is None:
        return paired(_tensor(a_re * b_re), a_im * b_re)
    if a_im is None:
        return paired(_tensor(a_re * b_re), a_re * b_im)
    return paired(_tensor(a_re * b_re - a_im * b_im), a_re * b_im + a_im * b_re)


def _times(z: Any, number: complex) -> Pair:
    """By a number, of which often one part is 0."""
    import torch

    re, im = parts(z)
    zero = torch.zeros_like(re)

    def by(x: Any, factor: float) -> Any:
        if x is None or factor == 0:
            return None
        return x if factor == 1 else x * factor

    def both(a: Any, b: Any) -> torch.Tensor:
        return zero if a is None and b is None else b if a is None else a if b is None else a + b

    turned = by(im, -number.imag)
    return paired(_tensor(both(by(re, number.real), turned)), both(by(re, number.imag), by(im, number.real)))


@rules.register("aten.square")
def square(z: Pair) -> Pair:
    """The product with itself."""
    return Pair(z.re * z.re - z.im * z.im, 2.0 * z.re * z.im)


@rules.register("aten.reciprocal")
def reciprocal(z: Pair) -> Pair:
    """The reciprocal 1 / z."""
    import torch

    scale = torch.maximum(z.re.abs(), z.im.abs())
    re, im = z.re / scale, z.im / scale
    size = (re * re + im * im) * scale
    return Pair(re / size, -im / size)


@rules.register("aten.div")
@rules.register("aten.divide")
@rules.register("aten.true_divide")
def div(a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    """The quotient."""
    if rounding_mode is not None:
        return NotImplemented
    if isinstance(b, complex):
        return mul(a, 1 / b)
    if not isinstance(b, Pair):
        return Pair(a.re / b, a.im / b)
    return mul(a, reciprocal(b))


@rules.register("aten.addcmul")
def addcmul(z: Any, a: Any, b: Any, *, value: complex = 1) -> Pair:
    """The sum z + value a b."""
    return _sum(z, mul(a, b), value)


@rules.register("aten.addcdiv")
def addcdiv(z: Any, a: Any, b: Any, *, value: complex = 1) -> Pair:
    """The sum z + value a / b."""
    return _sum(z, div(a if isinstance(a, Pair) else paired(a, None), b), value)


@rules.register("aten.lerp")
def lerp(a: Any, b: Any, weight: Any) -> Pair:
    """A point between a and b."""
    return _sum(a, mul(_sum(b, a, -1), weight), 1)


@rules.register("aten._conj")
@rules.register("aten.conj")
@rules.register("aten._conj_physical")
@rules.register("aten.conj_physical")
def conj(z: Pair) -> Pair:
    """The conjugate."""
    return Pair(z.re, -z.im)


@rules.register("aten.adjoint")
@rules.register("aten.mH")
def adjoint(z: Pair) -> Pair:
    """Transposed and conjugated."""
    return Pair(z.re.mT, -z.im.mT)


@rules.register("aten.abs")
@rules.register("aten.absolute")
def absolute(z: Pair) -> torch.Tensor:
    """The absolute value |z|."""
    import torch

    scale = torch.maximum(z.re.abs(), z.im.abs())
    safe = torch.where(scale == 0, 1.0, scale)
    return scale * torch.sqrt((z.re / safe).square() + (z.im / safe).square())


@rules.register("aten.angle")
def angle(z: Pair) -> torch.Tensor:
    """The angle, in (-pi, pi]."""
    import torch

    return torch.atan2(z.im, z.re)


@rules.register("aten.sgn")
def sgn(z: Pair) -> Pair:
    """The direction z / |z|, and 0 for 0."""
    import torch

    size = absolute(z)
    size = torch.where(size == 0, 1.0, size)
    return Pair(z.re / size, z.im / size)


@rules.register("aten.pow")
def power(a: Any, b: Any) -> Pair:
    """A power; small whole ones are multiplied out, and 0^w is 0 for others than w = 0."""
    import torch

    from edgepack.exporters.pairs.elementary import exp, log

    if isinstance(b, (int, float)) and float(b).is_integer() and abs(b) <= _MAX_POWER and isinstance(a, Pair):
        return _multiplied(a, int(b))
    if isinstance(b, (int, float)) and b == 0.5 and isinstance(a, Pair):  # noqa: PLR2004 - the square root
        from edgepack.exporters.pairs.elementary import sqrt

        root: Pair = sqrt(a)
        return root
    re, im = parts(a)
    base = a if isinstance(a, Pair) else paired(_tensor(re, b), im)
    result: Pair = exp(mul(log(base), b))
    zero = (base.re == 0) & (base.im == 0)
    b_re, b_im = parts(b)
    nothing = (b_re == 0) if b_im is None else (b_re == 0) & (b_im == 0)
    re = torch.where(zero, torch.where(torch.as_tensor(nothing), 1.0, 0.0).to(result.re.dtype), result.re)
    return paired(re, torch.where(zero, 0.0, result.im))


def _multiplied(z: Pair, n: int) -> Pair:
    import torch

    if n < 0:
        inverted: Pair = reciprocal(_multiplied(z, -n))
        return inverted
    result = Pair(torch.ones_like(z.re), torch.zeros_like(z.im))
    while n:
        if n & 1:
            result = mul(result, z)
        n >>= 1
        if n:
            z = square(z)
    return result


@rules.register("aten.eq")
def eq(a: Any, b: Any) -> torch.Tensor:
    """Whether both parts are equal."""
    (a_re, a_im), (b_re, b_im) = parts(a), parts(b)
    same: torch.Tensor = (a_re == b_re) & ((0 if a_im is None else a_im) == (0 if b_im is None else b_im))
    return same


@rules.register("aten.ne")
def ne(a: Any, b: Any) -> Any:
    """Whether a part differs."""
    return ~eq(a, b)


@rules.register("aten.isnan")
def isnan(z: Pair) -> torch.Tensor:
    """Whether a part is NaN."""
    return z.re.isnan() | z.im.isnan()


@rules.register("aten.isfinite")
def isfinite(z: Pair) -> torch.Tensor:
    """Whether both parts are finite."""
    return z.re.isfinite() & z.im.isfinite()


@rules.register("aten.isinf")
def isinf(z: Pair) -> torch.Tensor:
    """Whether a part is infinite."""
    return z.re.isinf() | z.im.isinf()


@rules.register("aten.var")
def var(z: Pair, *args: Any, **kwargs: Any) -> torch.Tensor:
    """E|z - Ez|^2."""
    import torch

    both: torch.Tensor = torch.ops.aten.var(z.re, *args, **kwargs) + torch.ops.aten.var(z.im, *args, **kwargs)
    return both


@rules.register("aten.std")
def std(z: Pair, *args: Any, **kwargs: Any) -> Any:
    """The root of the variance."""
    return var(z, *args, **kwargs).sqrt()


@rules.register("aten.linalg_vector_norm")
@rules.register("aten.norm")
@rules.register("aten.linalg_norm")
def norm(z: Pair, *args: Any, **kwargs: Any) -> Any:
    """A vector's norm, which asks for absolute values only."""
    import torch

    if kwargs.pop("dtype", None) is not None:
        return NotImplemented
    return torch.ops.aten.linalg_vector_norm(absolute(z), *args, **kwargs)


@rules.register("aten.prod")
def prod(z: Pair, dim: int | None = None, keepdim: bool = False, **_: object) -> Any:  # noqa: FBT001, FBT002
    """The product along an axis of a known length, pairwise."""
    if dim is None:
        z, dim = Pair(z.re.reshape(-1), z.im.reshape(-1)), 0
    length = z.re.shape[dim]
    if not isinstance(length, int) or length == 0:
        return NotImplemented
    factors = [Pair(z.re.narrow(dim, i, 1), z.im.narrow(dim, i, 1)) for i in range(length)]
    while len(factors) > 1:
        odd = factors[-1:] if len(factors) % 2 else []
        factors = [mul(a, b) for a, b in zip(factors[::2], factors[1::2], strict=False)] + odd
    last = factors[0]
    return last if keepdim else Pair(last.re.squeeze(dim), last.im.squeeze(dim))
