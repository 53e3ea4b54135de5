"""Activations that draw random slopes while a model is trained, as they are when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import decompositions

if TYPE_CHECKING:
    import torch

_LOWER, _UPPER = 1.0 / 8.0, 1.0 / 3.0  # torch's defaults


@decompositions.register("aten.rrelu.default")
def rrelu(
    x: torch.Tensor,
    lower: float = _LOWER,
    upper: float = _UPPER,
    training: bool = False,  # noqa: FBT001, FBT002 - torch's schema
    generator: Any = None,  # noqa: ARG001 - torch's schema
) -> Any:
    """A leaky ReLU with the mean of the slopes."""
    import torch

    if training:
        return NotImplemented
    return torch.where(x >= 0, x, x * ((lower + upper) / 2))
