"""Where values belong in a sorted sequence: #{i : not s_i >= v} to the left, #{i : not s_i > v} to the right.

Counting takes the whole sequence for every value instead of a binary search; it is one comparison and one
sum, which runtimes vectorize. NaN compares as in torch's binary search, greater than everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.exporters.decompositions.base import decompositions

if TYPE_CHECKING:
    import torch


@decompositions.register("aten.searchsorted.Tensor")
def searchsorted(
    sequence: torch.Tensor,
    values: torch.Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: torch.Tensor | None = None,
) -> torch.Tensor:
    """Insertion points of `values` [..., m] in `sequence` [..., n] or [n]; int64, or int32 if asked for."""
    import torch

    if sorter is not None:
        sequence = sequence.gather(-1, sorter)
    if sequence.ndim > 1:
        sequence = sequence.unsqueeze(-2)
    each = values.unsqueeze(-1)
    right = right or side == "right"
    before = ~(sequence > each) if right else ~(sequence >= each)
    return before.to(torch.int64).sum(-1).to(torch.int32 if out_int32 else torch.int64)


@decompositions.register("aten.searchsorted.Scalar")
def searchsorted_scalar(
    sequence: torch.Tensor,
    value: float,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: torch.Tensor | None = None,
) -> torch.Tensor:
    """The insertion point of one number in a sequence [n]."""
    import torch

    values = torch.full((), value, dtype=torch.result_type(sequence, value), device=sequence.device)
    place: torch.Tensor = searchsorted(
        sequence, values, out_int32=out_int32, right=right, side=side, sorter=sorter
    )
    return place


@decompositions.register("aten.isin.Tensor_Tensor")
def isin(
    elements: torch.Tensor,
    wanted: torch.Tensor,
    *,
    assume_unique: bool = False,  # noqa: ARG001 - torch's schema; a hint about speed
    invert: bool = False,
) -> torch.Tensor:
    """Which elements are among the wanted ones."""
    found = (elements.unsqueeze(-1) == wanted.reshape(-1)).any(-1)
    return ~found if invert else found
