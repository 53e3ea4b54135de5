"""Writing values at given places: means, flat places, rows, a diagonal, and sources longer than their index.

torch's exporter translates the mean of `scatter_reduce` without dividing, silently: here it is the sum by
the count, rounded down for whole numbers. ONNX wants a source of the index's shape, where torch reads only as
much of it as the index asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import conditions, decompositions

if TYPE_CHECKING:
    import torch


@decompositions.register("aten.scatter_reduce.two")
def scatter_reduce(
    x: torch.Tensor,
    dim: int,
    index: torch.Tensor,
    source: torch.Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Any:
    """The mean, and any reduction of a source longer than its index."""
    import torch

    if x.ndim == 0 or (reduce != "mean" and not longer(source, index)):
        return NotImplemented
    source = _as_long(source, index)
    if reduce != "mean":
        return torch.scatter_reduce(x, dim, index, source, reduce, include_self=include_self)
    ones = torch.ones_like(source)
    base = x if include_self else torch.scatter(x, dim, index, torch.zeros_like(source))
    sums = torch.scatter_add(base, dim, index, source)
    start = torch.ones_like(x) if include_self else torch.zeros_like(x)
    counts = torch.scatter_add(start, dim, index, ones)
    divisor = torch.clamp(counts, min=1)
    if x.is_floating_point():
        return sums / divisor
    return torch.div(sums, divisor, rounding_mode="floor")


@conditions.register("aten.scatter_reduce.two")
def is_mean_or_longer(node: Any) -> bool:
    """Whether the reduction is the mean, or the source longer than the index."""
    return bool(node.args[4] == "mean") or source_is_longer(node)


@decompositions.register("aten.scatter_add.default")
def scatter_add(x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor) -> Any:
    """With a source longer than its index."""
    import torch

    if not longer(source, index):
        return NotImplemented
    return torch.scatter_add(x, dim, index, _as_long(source, index))


@decompositions.register("aten.scatter.src")
def scatter(x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor) -> Any:
    """With a source longer than its index."""
    import torch

    if not longer(source, index):
        return NotImplemented
    return torch.scatter(x, dim, index, _as_long(source, index))


_OLD_NAMES = {"add": "sum", "multiply": "prod"}


@decompositions.register("aten.scatter.value_reduce")
def scatter_number(
    x: torch.Tensor, dim: int, index: torch.Tensor, value: float, *, reduce: str
) -> torch.Tensor:
    """A number added to the elements that `index` names, or multiplied with them."""
    import torch

    source = torch.full_like(index, value, dtype=x.dtype)
    return torch.scatter_reduce(x, dim, index, source, _OLD_NAMES[reduce])


@decompositions.register("aten.scatter.reduce")
def scatter_old(
    x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, *, reduce: str
) -> torch.Tensor:
    """As `scatter_reduce`, by its names before torch 1.12."""
    import torch

    return torch.scatter_reduce(x, dim, index, _as_long(source, index), _OLD_NAMES[reduce])


@conditions.register("aten.scatter_add.default")
@conditions.register("aten.scatter.src")
def source_is_longer(node: Any) -> bool:
    """Whether the fourth argument has another shape than the third."""
    return longer(node.args[3].meta["val"], node.args[2].meta["val"])


def longer(source: torch.Tensor, index: torch.Tensor) -> bool:
    """Whether the shapes differ, as far as is known: sizes that may be equal count as equal."""
    return any(
        not (isinstance(a, int) and isinstance(b, int) and a == b) and str(a) != str(b)
        for a, b in zip(source.shape, index.shape, strict=True)
    )


def _as_long(source: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return source[tuple(slice(0, size) for size in index.shape)]


@decompositions.register("aten.index_reduce.default")
def index_reduce(
    x: torch.Tensor,
    dim: int,
    index: torch.Tensor,
    source: torch.Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Any:
    """The slices of `source` reduced into those slices of x along `dim` that `index` names."""
    import torch

    if x.ndim == 0:
        return NotImplemented
    shape = [1] * x.ndim
    shape[dim] = -1
    places = index.to(torch.int64).reshape(shape).expand(source.shape)
    made = scatter_reduce(x, dim, places, source, reduce, include_self=include_self)
    if made is not NotImplemented:
        return made
    return x.scatter_reduce(dim, places, source, reduce, include_self=include_self)


@decompositions.register("aten.put.default")
def put(
    x: torch.Tensor,
    index: torch.Tensor,
    source: torch.Tensor,
    accumulate: bool = False,  # noqa: FBT001, FBT002 - torch's schema
) -> torch.Tensor:
    """`source` at places counted through the whole of x, from its end where they are negative."""
    import torch

    flat, places, values = x.reshape(-1), index.reshape(-1), source.reshape(-1)
    places = torch.where(places < 0, places + flat.shape[0], places)
    written = torch.scatter_add if accumulate else torch.scatter
    return written(flat, 0, places, values).reshape(x.shape)


@decompositions.register("aten.diagonal_scatter.default")
def diagonal_scatter(
    x: torch.Tensor, source: torch.Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> torch.Tensor:
    """The tensor x with `source` [..., d] on the diagonal of its axes `dim1` and `dim2`."""
    import torch

    rows = x.movedim((dim1, dim2), (-2, -1))
    height, width = rows.shape[-2:]
    down = torch.arange(height, device=x.device).unsqueeze(1)
    right = torch.arange(width, device=x.device).unsqueeze(0)
    on = right - down == offset
    # Element k of the diagonal stands in row k, or in column k when it starts below the corner.
    place = (down if offset >= 0 else right).expand(height, width)
    place = torch.where(on, place, 0).reshape(-1)
    values = source.index_select(-1, place).reshape(*source.shape[:-1], height, width)
    return torch.where(on, values, rows).movedim((-2, -1), (dim1, dim2))
