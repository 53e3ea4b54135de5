"""y_i = x_0 * ... * x_i, and the running maximum and minimum with their positions: ONNX's Scan.

A comparison of all pairs would need no loop and a square of memory in the length; a Scan works in place.
Of equal values the last counts, and a NaN stays from where it stands, as in torch (ReduceOps.cpp).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.exporters.decompositions.base import decompositions

if TYPE_CHECKING:
    import torch


@decompositions.register("aten.cumprod.default")
def cumprod(x: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Running product along `dim`; whole numbers and booleans become int64 unless `dtype` says otherwise."""
    import torch
    from torch._higher_order_ops.scan import scan_op

    if dtype is None:
        whole = not (x.is_floating_point() or x.is_complex())
        dtype = torch.int64 if whole else x.dtype
    x = x.to(dtype)
    if x.ndim == 0:
        return x.clone()

    def step(product: torch.Tensor, factor: torch.Tensor) -> list[torch.Tensor]:
        product = product * factor
        return [product, product.clone()]

    lines = x.movedim(dim, 0)
    products: torch.Tensor = scan_op(step, [torch.ones_like(lines[0])], [lines], ())[1]
    return products.movedim(0, dim)


@decompositions.register("aten.cummax.default")
def cummax(x: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Running maximum along `dim` and its position, int64."""
    return _extreme(x, dim, largest=True)


@decompositions.register("aten.cummin.default")
def cummin(x: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Running minimum along `dim` and its position, int64."""
    return _extreme(x, dim, largest=False)


def _extreme(x: torch.Tensor, dim: int, *, largest: bool) -> tuple[torch.Tensor, torch.Tensor]:
    import torch
    from torch._higher_order_ops.scan import scan_op

    if x.ndim == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    if x.dtype is torch.bool:
        values, positions = _extreme(x.to(torch.int32), dim, largest=largest)
        return values.to(torch.bool), positions

    def step(
        value: torch.Tensor, where: torch.Tensor, candidate: torch.Tensor, position: torch.Tensor
    ) -> list[torch.Tensor]:
        better = candidate >= value if largest else candidate <= value
        if x.is_floating_point():
            better = torch.isnan(candidate) | (better & ~torch.isnan(value))
        value, where = torch.where(better, candidate, value), torch.where(better, position, where)
        return [value, where, value.clone(), where.clone()]

    lines = x.movedim(dim, 0)
    start = [lines[0].clone(), torch.zeros_like(lines[0], dtype=torch.int64)]
    positions = torch.arange(lines.shape[0], device=x.device)
    _, _, values, places = scan_op(step, start, [lines, positions], ())
    return values.movedim(0, dim), places.movedim(0, dim)
