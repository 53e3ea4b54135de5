"""A language model's layer whose mixer may be attention or a state-space model, and the lists of such layers."""

from __future__ import annotations

from typing import Any

import torch

from edgepack.exporters.architectures.blocks._mlp import GatedMLP
from edgepack.exporters.architectures.blocks._norm import RMSNorm


class MixingLayer(torch.nn.Module):
    """x + mixer(norm x), then x + mlp(norm x).

    Args:
        width: Channels.
        hidden: Channels within the gated feed-forward network.
        mixer: What its network calls, in its own way, between `norm` and `leave`.
    """

    def __init__(self, width: int, hidden: int, mixer: torch.nn.Module) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.mixer = mixer
        self.mlp_norm = RMSNorm(width)
        self.mlp = GatedMLP(width, hidden)

    def leave(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """What follows the mixer."""
        x = x + mixed
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]


def all_of(modules: torch.nn.ModuleList) -> list[Any]:
    """Layers, whose mixers differ in what they are called with."""
    return list(modules)
