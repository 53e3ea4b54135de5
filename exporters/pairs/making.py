"""Where complex tensors come from and where they go: parts, polar form, constants, casts.

polar(r, phi) = r cos(phi) + i r sin(phi)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgepack.exporters.pairs.base import Pair, cast, paired, parts, real_dtype, rules

if TYPE_CHECKING:
    import torch


@rules.register("aten.complex")
def from_parts(re: torch.Tensor, im: torch.Tensor) -> Pair:
    """A complex tensor from its parts."""
    return paired(re, im)


@rules.register("aten.polar")
def from_polar(size: torch.Tensor, angle: torch.Tensor) -> Pair:
    """From absolute value and angle."""
    return paired(size * angle.cos(), size * angle.sin())


@rules.register("aten.view_as_complex_copy")
@rules.register("aten.view_as_complex")
def view_as_complex(x: torch.Tensor) -> Pair:
    """From a last axis of 2."""
    return Pair(x.select(-1, 0), x.select(-1, 1))


@rules.register("aten.view_as_real_copy")
@rules.register("aten.view_as_real")
def view_as_real(z: Pair) -> torch.Tensor:
    """With a last axis of 2."""
    import torch

    return torch.stack([z.re, z.im], -1)


@rules.register("aten.real")
def real(z: Any) -> torch.Tensor:
    """The real part."""
    re: torch.Tensor = parts(z)[0]
    return re


@rules.register("aten.imag")
def imag(z: Pair) -> torch.Tensor:
    """The imaginary part."""
    return z.im


def _cast(z: Any, dtype: torch.dtype | None) -> Any:
    """In another dtype; a real one drops the imaginary part, as torch does (with a warning)."""
    import torch

    if dtype is None:
        return z
    if not dtype.is_complex:
        if dtype is torch.bool:
            return (z.re != 0) | (z.im != 0)
        return parts(z)[0].to(dtype)
    kept = dtype.to_real()
    if isinstance(z, Pair):
        return Pair(cast(z.re, kept), cast(z.im, kept))
    return paired(cast(z, kept), None)


@rules.register("aten.to")
def to(z: Any, *args: Any, dtype: torch.dtype | None = None, **_: object) -> Any:
    """As `Tensor.to`: the dtype may stand anywhere, or be another tensor's."""
    import torch

    for arg in args:
        if isinstance(arg, torch.dtype):
            dtype = arg
        elif isinstance(arg, Pair):
            dtype = arg.re.dtype.to_complex()
        elif isinstance(arg, torch.Tensor):
            dtype = arg.dtype
    return _cast(z, dtype)


@rules.register("aten.type_as")
def type_as(z: Any, other: Any) -> Any:
    """In the dtype of another tensor."""
    return to(z, other)


@rules.register("aten._to_copy")
def to_copy(z: Any, *, dtype: torch.dtype | None = None, **_: object) -> Any:
    """As `Tensor.to`, in a functional graph."""
    return _cast(z, dtype)


@rules.register("aten.scalar_tensor")
def scalar_tensor(value: complex, *, dtype: torch.dtype | None = None, **_: object) -> Pair:
    """A tensor of one number."""
    import torch

    number = complex(value)
    kept = real_dtype(dtype)
    return Pair(torch.full((), number.real, dtype=kept), torch.full((), number.imag, dtype=kept))


def _filled(value: float) -> Callable[..., Pair]:
    def rule(size: Any, *, dtype: torch.dtype | None = None, **_: object) -> Pair:
        import torch

        kept = real_dtype(dtype)
        return Pair(torch.full(size, value, dtype=kept), torch.zeros(size, dtype=kept))

    return rule


for _name, _value in (("zeros", 0.0), ("ones", 1.0), ("empty", 0.0)):
    rules.register(f"aten.{_name}")(_filled(_value))


@rules.register("aten.full")
def full(size: Any, value: complex, *, dtype: torch.dtype | None = None, **_: object) -> Pair:
    """Filled with one number."""
    import torch

    number, kept = complex(value), real_dtype(dtype) or torch.get_default_dtype()
    return Pair(torch.full(size, number.real, dtype=kept), torch.full(size, number.imag, dtype=kept))


@rules.register("aten.arange")
def arange(*bounds: Any, dtype: torch.dtype | None = None, **_: object) -> Pair:
    """0, 1, 2, ... as complex numbers."""
    import torch

    return paired(torch.arange(*bounds, dtype=real_dtype(dtype)), None)


@rules.register("aten.eye")
def eye(*sizes: Any, dtype: torch.dtype | None = None, **_: object) -> Pair:
    """The unit matrix."""
    import torch

    return paired(torch.eye(*sizes, dtype=real_dtype(dtype)), None)


def _like(value: float) -> Callable[..., Any]:
    def rule(z: Any, *, dtype: torch.dtype | None = None, **_: object) -> Any:
        import torch

        base = parts(z)[0]
        if dtype is not None and not dtype.is_complex:
            return torch.full_like(base, value, dtype=dtype)
        kept = real_dtype(dtype) or base.dtype
        return Pair(torch.full_like(base, value, dtype=kept), torch.zeros_like(base, dtype=kept))

    return rule


for _name, _value in (("zeros_like", 0.0), ("ones_like", 1.0), ("empty_like", 0.0)):
    rules.register(f"aten.{_name}")(_like(_value))


@rules.register("aten.full_like")
def full_like(z: Any, value: complex, *, dtype: torch.dtype | None = None, **_: object) -> Any:
    """Filled with one number, of the shape of z."""
    import torch

    base, number = parts(z)[0], complex(value)
    if dtype is not None and not dtype.is_complex:
        return torch.full_like(base, number.real, dtype=dtype)
    kept = real_dtype(dtype) or base.dtype
    return Pair(
        torch.full_like(base, number.real, dtype=kept), torch.full_like(base, number.imag, dtype=kept)
    )


def _new(value: float) -> Callable[..., Any]:
    def rule(z: Any, size: Any, *, dtype: torch.dtype | None = None, **_: object) -> Any:
        import torch

        base = parts(z)[0]
        if (dtype is not None and not dtype.is_complex) or (dtype is None and not isinstance(z, Pair)):
            return torch.full(size, value, dtype=dtype or base.dtype)
        kept = real_dtype(dtype) or base.dtype
        return Pair(torch.full(size, value, dtype=kept), torch.zeros(size, dtype=kept))

    return rule


for _name, _value in (("new_zeros", 0.0), ("new_ones", 1.0), ("new_empty", 0.0)):
    rules.register(f"aten.{_name}")(_new(_value))


@rules.register("aten.sym_size")
def size(z: Pair, *args: Any) -> Any:
    """A size of the complex tensor."""
    import torch

    return torch.ops.aten.sym_size(z.re, *args)


@rules.register("aten._assert_tensor_metadata")
def asserted(*_: object, **__: object) -> None:
    """Of the complex dtype that is no longer there."""


@rules.register("aten.is_complex")
def always(_: Pair) -> bool:
    """A pair stands for a complex tensor."""
    return True
