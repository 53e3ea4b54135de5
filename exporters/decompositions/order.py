"""Order statistics from a sort: x_(k) is the k-th smallest, the median is x_((n+1) // 2).

NaN counts as larger than everything, as in torch's own sort; the runtime's sort does not define its place,
so it is replaced by infinity first and put back by counting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.exporters.decompositions.base import decompositions

if TYPE_CHECKING:
    import torch


@decompositions.register("aten.kthvalue.default")
def kthvalue(
    x: torch.Tensor,
    k: int,
    dim: int = -1,
    keepdim: bool = False,  # noqa: FBT001, FBT002 - torch's schema
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k-th smallest along `dim`, k from 1, and a position of it."""
    import torch

    if x.ndim == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    ordered, places, valid = _ordered(x, dim)
    value, place = ordered.narrow(dim, k - 1, 1), places.narrow(dim, k - 1, 1)
    if valid is not None:
        value = torch.where(valid < k, torch.nan, value)
    return _squeezed(value, place, dim, keepdim=keepdim)


@decompositions.register("aten.sort.stable")
def stable_sort(
    x: torch.Tensor,
    *,
    stable: bool | None = None,  # noqa: ARG001 - ONNX's TopK puts the first of equal elements first
    dim: int = -1,
    descending: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values along `dim` in order and their positions, equal ones in the order in which they stood."""
    import torch

    values, places = torch.sort(x, dim=dim, descending=descending)
    return values, places


@decompositions.register("aten.argsort.stable")
def stable_argsort(
    x: torch.Tensor,
    *,
    stable: bool,
    dim: int = -1,
    descending: bool = False,
) -> torch.Tensor:
    """Positions alone."""
    places: torch.Tensor = stable_sort(x, stable=stable, dim=dim, descending=descending)[1]
    return places


@decompositions.register("aten.median.dim")
def median(
    x: torch.Tensor,
    dim: int,
    keepdim: bool = False,  # noqa: FBT001, FBT002 - torch's schema
) -> tuple[torch.Tensor, torch.Tensor]:
    """The lower median along `dim` and a position of it; NaN and its first position where there is one."""
    import torch

    if x.ndim == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    ordered, places, valid = _ordered(x, dim)
    size = x.shape[dim]
    middle = (size - 1) // 2
    value, place = ordered.narrow(dim, middle, 1), places.narrow(dim, middle, 1)
    if valid is not None:
        value = torch.where(valid < size, torch.nan, value)
        first = torch.isnan(x).to(torch.int32).argmax(dim, keepdim=True)
        place = torch.where(valid < size, first, place)
    return _squeezed(value, place, dim, keepdim=keepdim)


@decompositions.register("aten.median.default")
def median_of_all(x: torch.Tensor) -> torch.Tensor:
    """The lower median of all elements, NaN when one is."""
    value: torch.Tensor = median(x.reshape(-1), 0)[0]
    return value


@decompositions.register("aten.nanmedian.dim")
def nanmedian(
    x: torch.Tensor,
    dim: int,
    keepdim: bool = False,  # noqa: FBT001, FBT002 - torch's schema
) -> tuple[torch.Tensor, torch.Tensor]:
    """The lower median along `dim` of what is not NaN, and a position of it."""
    import torch

    if x.ndim == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    ordered, places, valid = _ordered(x, dim)
    if valid is None:
        middle_one: tuple[torch.Tensor, torch.Tensor] = median(x, dim, keepdim)
        return middle_one
    middle = torch.clamp(valid - 1, min=0) // 2
    value, place = ordered.gather(dim, middle), places.gather(dim, middle)
    return _squeezed(torch.where(valid == 0, torch.nan, value), place, dim, keepdim=keepdim)


@decompositions.register("aten.nanmedian.default")
def nanmedian_of_all(x: torch.Tensor) -> torch.Tensor:
    """The lower median of all elements that are not NaN."""
    value: torch.Tensor = nanmedian(x.reshape(-1), 0)[0]
    return value


@decompositions.register("aten.mode.default")
def mode(
    x: torch.Tensor,
    dim: int = -1,
    keepdim: bool = False,  # noqa: FBT001, FBT002 - torch's schema
) -> tuple[torch.Tensor, torch.Tensor]:
    """The most frequent value along `dim`, of several the smallest, and the last position of it."""
    import torch

    if x.ndim == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    ordered = torch.sort(x, dim=dim)[0].movedim(dim, -1)
    counts = (ordered.unsqueeze(-1) == ordered.unsqueeze(-2)).to(torch.int64).sum(-1)
    value = ordered.gather(-1, counts.argmax(-1, keepdim=True))
    places = torch.arange(x.shape[dim], device=x.device)
    place = torch.where(x.movedim(dim, -1) == value, places, 0).amax(-1, keepdim=True)
    return _squeezed(value.movedim(-1, dim), place.movedim(-1, dim), dim, keepdim=keepdim)


def _ordered(x: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Sorted values, their places, and how many along `dim` are not NaN (None for whole numbers)."""
    import torch

    if not x.is_floating_point():
        return *torch.sort(x, dim=dim), None
    missing = torch.isnan(x)
    ordered, places = torch.sort(torch.where(missing, torch.inf, x), dim=dim)
    return ordered, places, (~missing).to(torch.int64).sum(dim, keepdim=True)


def _squeezed(
    value: torch.Tensor, place: torch.Tensor, dim: int, *, keepdim: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))
