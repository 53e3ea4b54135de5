"""Sums, means and maxima of bags of embedding rows, as recommenders use them.

Bags stand one behind another in one list of indices. A running count of the bags that have begun says to which bag
an index belongs, so the work grows with the list, without a loop over the bags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import decompositions

if TYPE_CHECKING:
    import torch

_SUM, _MEAN = 0, 1


@decompositions.register("aten.embedding_bag.padding_idx")
def embedding_bag(  # noqa: PLR0913 - torch's schema
    weight: torch.Tensor,
    indices: torch.Tensor,
    offsets: torch.Tensor,
    scale_grad_by_freq: bool,  # noqa: ARG001, FBT001 - torch's schema
    mode: int,
    sparse: bool,  # noqa: ARG001, FBT001 - torch's schema
    per_sample_weights: torch.Tensor | None,
    include_last_offset: bool,  # noqa: FBT001 - torch's schema
    padding_idx: int | None,
) -> Any:
    """The bags [bags, d] of weight [n, d]; an empty bag is zeros. What torch returns beside them is zeros."""
    import torch

    if indices.ndim != 1:
        return NotImplemented
    starts = offsets[:-1] if include_last_offset else offsets
    length, bags = indices.shape[0], starts.shape[0]
    # One place more than there are indices: empty bags at the end start behind them.
    begun = torch.zeros(length + 1, dtype=torch.int64, device=indices.device)
    begun = begun.scatter_add(0, starts.to(torch.int64), torch.ones_like(starts, dtype=torch.int64))
    bag = begun[:length].cumsum(0) - 1
    rows = weight.index_select(0, indices)
    if padding_idx is not None:
        padding = padding_idx if padding_idx >= 0 else padding_idx + weight.shape[0]
        counted = (indices != padding).to(weight.dtype)
    else:
        counted = torch.ones_like(rows[:, 0])
    empty = torch.zeros(bags, weight.shape[1], dtype=weight.dtype, device=weight.device)
    sizes = torch.zeros_like(empty[:, 0]).scatter_add(0, bag, counted).unsqueeze(1)
    places = bag.unsqueeze(1).expand(rows.shape)
    if mode in {_SUM, _MEAN}:
        factor = counted if per_sample_weights is None else counted * per_sample_weights
        made = empty.scatter_add(0, places, rows * factor.unsqueeze(1))
        if mode == _MEAN:
            made = made / torch.clamp(sizes, min=1.0)
    else:
        lowest = torch.finfo(weight.dtype).min
        rows = torch.where(counted.unsqueeze(1) > 0, rows, lowest)
        made = torch.scatter_reduce(empty + lowest, 0, places, rows, "amax")
        made = torch.where(sizes > 0, made, 0.0)
    nothing = torch.zeros_like(starts)
    return made, nothing, nothing.clone(), nothing.clone()
