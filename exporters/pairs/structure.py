"""Operators that move elements, add them or fill with them: the same on both parts.

f(re + i im) = f(re) + i f(im)    for every real-linear f
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgepack.exporters.pairs.base import Pair, cast, pair_of, parts, rules

if TYPE_CHECKING:
    import torch

_ALIKE = (
    "_unsafe_view", "alias", "as_strided", "broadcast_to", "clone", "constant_pad_nd", "contiguous",
    "cumsum", "detach", "diag_embed", "diagonal", "diff", "expand", "expand_as", "fft_fftshift", "fft_ifftshift",
    "flatten", "flip", "gather", "im2col", "index", "index_select", "lift_fresh_copy", "mT", "masked_select", "mean",
    "moveaxis", "movedim", "narrow", "neg", "negative", "numpy_T", "pad", "permute", "positive",
    "repeat", "repeat_interleave", "reshape", "resolve_conj", "resolve_neg", "roll",
    "rot90", "select", "slice", "squeeze", "sum", "swapaxes", "swapdims", "t", "take_along_dim", "tile",
    "trace", "transpose", "tril", "triu", "unflatten", "unfold", "unfold_copy", "unsqueeze",
    "upsample_nearest1d", "upsample_nearest2d", "view", "view_copy",
)  # fmt: skip
_SEVERAL = ("chunk", "split", "split_with_sizes", "tensor_split", "unbind", "hsplit", "vsplit", "dsplit")
_SIZED = {"expand_as", "view_as", "reshape_as"}


def _operator(name: str) -> Any:
    import torch

    return getattr(torch.ops.aten, name)


def _alike(name: str) -> Callable[..., Any]:
    def rule(z: Pair, *args: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Pair:
        operator = _operator(name)
        args = tuple(parts(arg)[0] if name in _SIZED else arg for arg in args)
        if name in {"pad", "constant_pad_nd"}:
            return _padded(operator, z, *args, **kwargs)
        if dtype is not None:
            kwargs["dtype"] = dtype.to_real()
        return Pair(operator(z.re, *args, **kwargs), operator(z.im, *args, **kwargs))

    return rule


def _padded(operator: Any, z: Pair, sizes: Any, *args: Any, **kwargs: Any) -> Pair:
    """Padded with a constant, which may be complex; other modes copy elements."""
    if "value" in kwargs:
        value = kwargs.pop("value")
    else:
        value = args[-1] if args and isinstance(args[-1], (int, float, complex)) else None
        args = args[:-1] if value is not None else args
    if value is None:
        return Pair(operator(z.re, sizes, *args, **kwargs), operator(z.im, sizes, *args, **kwargs))
    number = complex(value)
    return Pair(operator(z.re, sizes, *args, number.real), operator(z.im, sizes, *args, number.imag))


def _several(name: str) -> Callable[..., Any]:
    def rule(z: Pair, *args: Any, **kwargs: Any) -> list[Pair]:
        operator = _operator(name)
        both = zip(operator(z.re, *args, **kwargs), operator(z.im, *args, **kwargs), strict=True)
        return [Pair(re, im) for re, im in both]

    return rule


for _name in _ALIKE:
    rules.register(f"aten.{_name}")(_alike(_name))
for _name in _SEVERAL:
    rules.register(f"aten.{_name}")(_several(_name))


def _joined(name: str) -> Callable[..., Any]:
    def rule(tensors: list[Any], *args: Any, **kwargs: Any) -> Pair:
        pairs, operator = [pair_of(one) for one in tensors], _operator(name)
        return Pair(
            operator([z.re for z in pairs], *args, **kwargs),
            operator([z.im for z in pairs], *args, **kwargs),
        )

    return rule


for _name in ("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack"):
    rules.register(f"aten.{_name}")(_joined(_name))


def _into(name: str, source: int) -> Callable[..., Any]:
    """Writing a tensor, the argument at `source`, into another one."""

    def rule(z: Any, *args: Any, **kwargs: Any) -> Pair:
        operator, (to_re, to_im) = _operator(name), parts(pair_of(z))
        values = args[source - 1]
        if isinstance(values, (int, float, complex)):
            number = complex(values)
            from_re, from_im = number.real, number.imag
        else:
            from_re, from_im = parts(pair_of(values))
        before, after = args[: source - 1], args[source:]
        return Pair(
            operator(to_re, *before, from_re, *after, **kwargs),
            operator(to_im, *before, from_im, *after, **kwargs),
        )

    return rule


for _name, _source in (
    ("copy", 1), ("slice_scatter", 1), ("select_scatter", 1), ("diagonal_scatter", 1), ("index_put", 2),
    ("index_add", 3), ("index_copy", 3), ("scatter", 3), ("scatter_add", 3), ("masked_fill", 2), ("fill", 1),
    ("masked_scatter", 2), ("index_fill", 3),
):  # fmt: skip
    rules.register(f"aten.{_name}")(_into(_name, _source))


@rules.register("aten.where")
def where(condition: torch.Tensor, a: Any, b: Any) -> Pair:
    """Elements of a or of b, tensors or numbers."""
    import torch

    (a_re, a_im), (b_re, b_im) = parts(a), parts(b)
    re = torch.where(condition, a_re, b_re)
    im = torch.where(condition, 0.0 if a_im is None else a_im, 0.0 if b_im is None else b_im)
    dtype = next(v.re.dtype for v in (a, b) if isinstance(v, Pair))
    return Pair(cast(re, dtype), cast(im, dtype))
