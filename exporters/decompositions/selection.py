"""Elements picked by a mask: as many as there are, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.exporters.decompositions.base import decompositions

if TYPE_CHECKING:
    import torch


@decompositions.register("aten.masked_select.default")
def masked_select(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The elements of x where `mask` holds [n], both broadcast."""
    import torch

    shape = torch.broadcast_shapes(x.shape, mask.shape)  # type: ignore[no-untyped-call]
    places = torch.nonzero(mask.expand(shape).reshape(-1)).squeeze(1)
    return x.expand(shape).reshape(-1).index_select(0, places)
