"""Writing many values into one place: means, and a diagonal.

torch's exporter translates the mean of `scatter_reduce` without dividing, silently: here it is the sum by
the count, rounded down for whole numbers.
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
    """The mean; other reductions are translated by the exporter."""
    import torch

    if reduce != "mean" or x.ndim == 0:
        return NotImplemented
    # The source may be longer than the index.
    source = source[tuple(slice(0, size) for size in index.shape)]
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
def is_mean(node: Any) -> bool:
    """Whether the reduction is the mean."""
    return bool(node.args[4] == "mean")


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
