"""What a training loop tells the binary layers between its own steps."""

from __future__ import annotations

import torch
from torch import nn

from edgepack.quantize.binary._layer import BinaryLayer
from edgepack.toolchain.errors import UsageError


def after_step(model: nn.Module) -> None:
    """Clip weights to [-1, 1] in the methods that say so; call it after each step of the optimizer."""
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, BinaryLayer) and layer.method.clips_weights:
                layer.weight.clamp_(-1, 1)


def progress(model: nn.Module, fraction: float) -> None:
    """Tell the layers how much of the training is done; schedules follow it.

    Args:
        model: With binary layers.
        fraction: From 0, the beginning, to 1.

    Raises:
        UsageError: A fraction outside 0 to 1.
    """
    if not 0 <= fraction <= 1:
        raise UsageError(f"A training cannot be done to {fraction}", todo="Give a fraction from 0 to 1")
    for layer in model.modules():
        if isinstance(layer, BinaryLayer):
            layer.method.progress(fraction)
