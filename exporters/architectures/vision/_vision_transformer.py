"""Transformers on patches of one size, as baselines: what they have in common with a mixer of choice.

A. Dosovitskiy et al., arXiv:2010.11929, figure 1; H. Touvron et al. (DeiT), arXiv:2012.12877, table 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edgepack.exporters.architectures.blocks._attention import attend, split
from edgepack.exporters.architectures.blocks._patches import PatchEmbed, tokens
from edgepack.exporters.architectures.blocks._statistics import give_biases
from edgepack.exporters.architectures.blocks._weights import initialize


class PatchAttention(torch.nn.Module):
    """Attention of every patch to all others, with biases and without positions; `width` channels."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = torch.nn.Linear(width, 3 * width)
        self.out = torch.nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, patches, width] in and out."""
        q, k, v = split(self.qkv(x), 3, self.heads)
        return self.out(attend(q, k, v))  # type: ignore[no-any-return]


class TransformerBlock(torch.nn.Module):
    """x + mixer(norm x), then x + mlp(norm x)."""

    def __init__(self, width: int, hidden: int, mixer: torch.nn.Module) -> None:
        super().__init__()
        self.mixer_norm = torch.nn.LayerNorm(width, 1e-6)
        self.mixer = mixer
        self.mlp_norm = torch.nn.LayerNorm(width, 1e-6)
        self.up = torch.nn.Linear(width, hidden)
        self.down = torch.nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, patches, width] in and out."""
        x = x + self.mixer(self.mixer_norm(x))
        return x + self.down(torch.nn.functional.gelu(self.up(self.mlp_norm(x))))  # type: ignore[no-any-return]


class VisionTransformer(torch.nn.Module):
    """Patches, learned positions, blocks, norm, classifier.

    Args:
        image: Height and width of the images.
        patch: Of the patches.
        width: Channels.
        mixers: One for every block.
        classes: Scores that come out.
        token: Classify from a learned token in front of the patches; otherwise from the mean of the patches.
        seed: Of the random weights and biases.
    """

    def __init__(
        self,
        image: int,
        patch: int,
        width: int,
        mixers: Sequence[torch.nn.Module],
        classes: int,
        *,
        token: bool,
        seed: int,
    ) -> None:
        super().__init__()
        patches = (image // patch) ** 2
        self.embed = PatchEmbed(3, width, patch)
        self.token = torch.nn.Parameter(torch.zeros(1, 1, width)) if token else None
        self.positions = torch.nn.Parameter(torch.zeros(1, patches + token, width))
        self.blocks = torch.nn.Sequential(*(TransformerBlock(width, 4 * width, one) for one in mixers))
        self.norm = torch.nn.LayerNorm(width, 1e-6)
        self.classify = torch.nn.Linear(width, classes)
        initialize(self, seed)
        give_biases(self, seed)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores [batch, classes] of images [batch, 3, image, image]."""
        x = tokens(self.embed(pixels))
        if self.token is not None:
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = self.norm(self.blocks(x + self.positions))
        return self.classify(x.mean(1) if self.token is None else x[:, 0])  # type: ignore[no-any-return]
