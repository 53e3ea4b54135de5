"""The network of "Adapting LLaMA Decoder to Vision Transformer": LLaMA's layers over the patches of an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._attention import split
from edgepack.exporters.architectures.blocks._mlp import GatedMLP
from edgepack.exporters.architectures.blocks._norm import RMSNorm
from edgepack.exporters.architectures.blocks._rotary import Rotation, rotate, rotation
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.vision.illama import ImageLlama

_EPS = 1e-6


class CausalAttention(torch.nn.Module):
    """(softmax(q k^T / sqrt(w)) * mask) v: what lies ahead is taken out behind the softmax."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = torch.nn.Linear(width, 3 * width)
        self.out = torch.nn.Linear(width, width)

    def forward(self, x: torch.Tensor, turn: Rotation, mask: torch.Tensor) -> torch.Tensor:
        """[batch, tokens, width] in and out; `mask` of ones and zeros, [tokens, tokens]."""
        q, k, v = split(self.qkv(x), 3, self.heads)
        scores = (rotate(q, turn) * (1 / math.sqrt(q.shape[-1]))) @ rotate(k, turn).transpose(-1, -2)
        seen = scores.softmax(-1) * mask
        return self.out((seen @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Layer(torch.nn.Module):
    """x + attention(norm x), then x + mlp(norm x)."""

    def __init__(self, config: ImageLlama) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, _EPS)
        self.attention = CausalAttention(config.width, config.heads)
        self.mlp_norm = RMSNorm(config.width, _EPS)
        self.mlp = GatedMLP(config.width, config.hidden)

    def forward(self, x: torch.Tensor, turn: Rotation, mask: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        x = x + self.attention(self.attention_norm(x), turn, mask)
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]


class Network(torch.nn.Module):
    """From images [batch, 3, size, size] to scores of classes [batch, classes]."""

    def __init__(self, config: ImageLlama) -> None:
        super().__init__()
        tokens = config.tokens
        self.patches = torch.nn.Conv2d(3, config.width, config.patch, config.patch)
        self.class_token = torch.nn.Parameter(torch.zeros(1, 1, config.width))
        self.positions = torch.nn.Parameter(torch.zeros(1, tokens, config.width))
        self.layers = torch.nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, _EPS)
        self.head = torch.nn.Linear(config.width, config.classes)
        cos, sin = rotation(torch.arange(tokens), config.width // config.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("mask", torch.ones(tokens, tokens).tril(), persistent=False)
        initialize(self, config.seed)

    def tokens(self, image: torch.Tensor) -> torch.Tensor:
        """What the last layer gives, [batch, tokens, width]; the class token is the last."""
        x: torch.Tensor = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([x, self.class_token.expand(image.shape[0], -1, -1)], 1) + self.positions
        for layer in self.layers:
            x = layer(x, (self.cos, self.sin), self.mask)
        return x

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scores of classes."""
        # A slice and not an index: an index becomes a gather, which some NPUs leave to the CPU.
        last = self.tokens(image)[:, -1:]
        return self.head(self.norm(last)).squeeze(1)  # type: ignore[no-any-return]
