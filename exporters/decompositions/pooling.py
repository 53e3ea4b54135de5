"""Adaptive pooling: output o covers the inputs floor(o n / m) to ceil((o + 1) n / m) of n, of m outputs.

The exporter translates it for sizes that are known and divide one another, and gives wrong shapes or values
for those that vary. An average over the windows is a product with a matrix that holds 1 / length inside
each window; a maximum gathers the windows, which are at most ceil(n / m) + 1 long, first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import conditions, decompositions

if TYPE_CHECKING:
    import torch


@decompositions.register("aten.adaptive_avg_pool1d.default")
def average_1d(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Averages over windows of x [..., length]."""
    return _average(x, size)


@decompositions.register("aten.adaptive_avg_pool2d.default")
def average_2d(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Averages over windows of x [..., height, width]."""
    return _average(x, size)


@decompositions.register("aten.adaptive_max_pool2d.default")
def maximum_2d(x: torch.Tensor, size: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The maxima of windows of x [..., height, width] and their places, counted in rows, as torch does."""
    height, width = x.shape[-2:]
    down, right = _window(height, size[0], x.device), _window(width, size[1], x.device)
    windows = x.index_select(-2, down.reshape(-1)).index_select(-1, right.reshape(-1))
    windows = windows.reshape(*x.shape[:-2], *down.shape, *right.shape)
    windows = windows.transpose(-3, -2).flatten(-2)
    values, best = windows.max(-1)
    places = (down.unsqueeze(1).unsqueeze(-1) * width + right.unsqueeze(0).unsqueeze(-2)).flatten(-2)
    return values, places.expand(windows.shape).gather(-1, best.unsqueeze(-1)).squeeze(-1)


@conditions.register("aten.adaptive_avg_pool1d.default")
@conditions.register("aten.adaptive_avg_pool2d.default")
def uneven(node: Any) -> bool:
    """Whether the windows differ in length or may do so."""
    x, size = node.args[0].meta["val"], node.args[1]
    return not _even(x, size)


def _even(x: torch.Tensor, size: Sequence[int]) -> bool:
    lengths = x.shape[-len(size) :]
    return all(m == 1 for m in size) or all(
        isinstance(n, int) and n % m == 0 for n, m in zip(lengths, size, strict=True)
    )


def _average(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    import torch

    lengths = x.shape[-len(size) :]
    if all(m == 1 for m in size):
        return x.mean(tuple(range(-len(size), 0)), keepdim=True)
    if _even(x, size):
        # Another node of the graph has uneven windows; this one's are a plain pooling.
        pool = torch.nn.functional.avg_pool1d if len(size) == 1 else torch.nn.functional.avg_pool2d
        window = [n // m for n, m in zip(lengths, size, strict=True)]
        return pool(x, window, window)
    for axis, m in zip(range(-len(size), 0), size, strict=True):
        n = x.shape[axis]
        first, last = _bounds(n, m, x.device)
        place = torch.arange(n, device=x.device)
        inside = (place >= first.unsqueeze(1)) & (place < last.unsqueeze(1))
        weights = inside.to(x.dtype) / (last - first).to(x.dtype).unsqueeze(1)
        x = (weights @ x) if axis == -2 else (x @ weights.mT)  # noqa: PLR2004
    return x


def _bounds(n: int, m: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    outputs = torch.arange(m, device=device)
    return outputs * n // m, ((outputs + 1) * n + m - 1) // m


def _window(n: int, m: int, device: torch.device) -> torch.Tensor:
    """Places [m, longest window], the last of a shorter window repeated."""
    import torch

    first, last = _bounds(n, m, device)
    steps = torch.arange((n + m - 1) // m + 1, device=device)
    return torch.minimum(first.unsqueeze(1) + steps, last.unsqueeze(1) - 1)
