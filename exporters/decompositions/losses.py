"""The cross entropy with smoothed labels: torch's exporter leaves the smoothing out, silently.

    (1 - s) (-log p_target) + s mean_c(-log p_c)

Source: Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016, section 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.decompositions.base import conditions, decompositions

if TYPE_CHECKING:
    import torch

_SMOOTHING = 5  # place of label_smoothing among the arguments
_NONE, _MEAN = 0, 1


@decompositions.register("aten.cross_entropy_loss.default")
def cross_entropy(
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    reduction: int = _MEAN,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Any:
    """Of logits x [n, classes, ...] and whole numbers [n, ...]; weights of classes are declined."""
    import torch

    if not label_smoothing or weight is not None or target.is_floating_point() or x.ndim == 1:
        return NotImplemented
    logarithms = torch.log_softmax(x, 1)
    counted = target != ignore_index
    chosen = logarithms.gather(1, torch.where(counted, target, 0).unsqueeze(1)).squeeze(1)
    losses = (label_smoothing - 1.0) * chosen - label_smoothing * logarithms.mean(1)
    losses = torch.where(counted, losses, 0.0)
    if reduction == _NONE:
        return losses
    return losses.sum() / counted.sum() if reduction == _MEAN else losses.sum()


@conditions.register("aten.cross_entropy_loss.default")
def is_smoothed(node: Any) -> bool:
    """Whether labels are smoothed."""
    given = node.args[_SMOOTHING] if len(node.args) > _SMOOTHING else node.kwargs.get("label_smoothing", 0.0)
    return bool(given)
