"""Mean and deviation taken out, with gradients through both.

(w - mean w) / sqrt(var w + 1e-5)    var with n - 1 in the denominator
"""

from __future__ import annotations

from torch import Tensor

_EPSILON = 1e-5  # so that constant values stay finite


def standardized(weight: Tensor) -> Tensor:
    """Each output's weights, of mean 0 and variance 1; [N, ...]."""
    rows = weight.flatten(1)
    centred = rows - rows.mean(1, keepdim=True)
    return (centred / (centred.var(1, keepdim=True) + _EPSILON).sqrt()).reshape(weight.shape)


def by_deviation(values: Tensor) -> Tensor:
    """Each sample's activations divided by their deviation; [batch, ...], signs as they were."""
    rows = values.flatten(1) if values.dim() > 1 else values[None]
    return (rows / (rows.var(1, keepdim=True) + _EPSILON).sqrt()).reshape(values.shape)
