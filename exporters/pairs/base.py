"""z = re + i im as two real tensors, and the registry of what operators do to them.

A rule computes one ATen operator of which an argument or the result is complex. It takes the operator's own
arguments, complex tensors as `Pair`s and complex numbers as they are, and returns a `Pair`, a real tensor, or
a sequence of them. It is traced: it must not look at values, and sizes may be symbolic. It returns
`NotImplemented` for a case that it does not cover.

Members are filed under the operator's name without its overload, such as "aten.mul".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.registry import Registry

if TYPE_CHECKING:
    import torch

rules: Registry[Callable[..., Any]] = Registry("complex rule", "edgepack.exporters.pairs")


@dataclass(frozen=True)
class Pair:
    """The real and the imaginary parts of a complex tensor, of one shape and dtype."""

    re: torch.Tensor
    im: torch.Tensor

    @property
    def shape(self) -> torch.Size:
        """The complex tensor's shape."""
        return self.re.shape

    @property
    def ndim(self) -> int:
        """The complex tensor's number of dimensions."""
        return self.re.ndim


Part = Any
"""A real or imaginary part: a tensor, a Python number, or None for nothing at all."""


def parts(value: Any) -> tuple[Part, Part]:
    """Real and imaginary part of a pair, a tensor or a number; None for an imaginary part that there is not."""
    if isinstance(value, Pair):
        return value.re, value.im
    if isinstance(value, complex):
        return value.real, value.imag
    return value, None


def paired(re: torch.Tensor, im: Part) -> Pair:
    """A pair of one shape and dtype, whatever the parts were broadcast to."""
    import torch

    if im is None:
        return Pair(re, torch.zeros_like(re))
    if not isinstance(im, torch.Tensor):
        return Pair(re, torch.full_like(re, im))
    if re.dtype != im.dtype:
        wider = max(re.dtype, im.dtype, key=lambda dtype: dtype.itemsize)
        re, im = cast(re, wider), cast(im, wider)
    if tuple(re.shape) != tuple(im.shape):
        re, im = torch.broadcast_tensors(re, im)  # type: ignore[no-untyped-call]
    return Pair(re, im)


def cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """In a dtype, without a node where it has that one."""
    return x if x.dtype == dtype else x.to(dtype)


def pair_of(value: Any) -> Pair:
    """A pair from a pair or from a real tensor, whole numbers as floats."""
    import torch

    if isinstance(value, Pair):
        return value
    return paired(value if value.is_floating_point() else value.to(torch.get_default_dtype()), None)


def real_dtype(dtype: torch.dtype | None) -> torch.dtype | None:
    """Of a complex dtype that of its parts; others as they are."""
    return dtype.to_real() if dtype is not None and dtype.is_complex else dtype
