"""What a case of a decomposition is, and inputs that several of them take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Case:
    """`function` of what `inputs(n)` gives; `axis` of the first input is n, and varies."""

    name: str
    operator: str
    function: Callable[..., Any]
    inputs: Callable[[int], tuple[torch.Tensor, ...]]
    axis: int | None = 1
    others: tuple[int | None, ...] = field(default=())
    tolerance: float = 2e-5


def normal(n):
    return (torch.randn(3, n),)


def whole(n):
    return (torch.randint(-3, 4, (3, n)),)


def with_gaps(n):
    """Ties, NaN in one row, infinity in another."""
    x = torch.randint(-2, 3, (3, n)).float()
    x[1, n // 2] = torch.nan
    x[2, 0] = torch.inf
    return (x,)
