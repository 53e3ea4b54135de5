"""The networks of Hydra: a quasiseparable mixer, and a masked language model whose layers hold nothing else.

The mixer's matrix has a data-dependent diagonal, a semiseparable triangle below it and another above: two state-space
models that read the same inputs, one from each end, both shifted by a step so that the present comes in once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks import _ssm as ssm
from edgepack.exporters.architectures.blocks._norm import RMSNorm
from edgepack.exporters.architectures.blocks._short_convolution import ShortConvolution
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence.hydra import Hydra


class Mixer(torch.nn.Module):
    """A drop-in for self-attention without a mask: [batch, length, width] in and out."""

    def __init__(self, config: Hydra) -> None:
        super().__init__()
        self.config = config
        inner, heads, states = config.inner, config.heads, config.states
        self.parts = [inner, inner + 4 * states, 2 * heads]  # gate; inputs, ways in and out; step sizes
        self.project = torch.nn.Linear(config.width, sum(self.parts), bias=False)
        self.near = ShortConvolution(self.parts[1], config.taps, causal=False)
        self.step_bias = torch.nn.Parameter(ssm.step_biases(heads))
        self.log_rate = torch.nn.Parameter(torch.zeros(heads))
        self.diagonal = torch.nn.Linear(inner, heads)
        self.diagonal.bias.data.fill_(1.0)
        self.norm = RMSNorm(inner)
        self.out = torch.nn.Linear(inner, config.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Every position sees all others."""
        config = self.config
        batch, length, _ = x.shape
        gate, mixed, steps = self.project(x).split(self.parts, -1)
        mixed = torch.nn.functional.silu(self.near(mixed))
        x, ways = mixed[..., : config.inner], mixed[..., config.inner :].unsqueeze(2).chunk(4, -1)
        diagonal = self.diagonal(x).unsqueeze(-1)
        x = x.reshape(batch, length, config.heads, -1)
        y = x * diagonal
        for backward, step in enumerate(steps.chunk(2, -1)):
            size = ssm.softplus(step + self.step_bias)
            b, c = ways[2 * backward], ways[2 * backward + 1]
            scanned, _ = ssm.scan(
                x * size.unsqueeze(-1),
                size * self.log_rate.exp(),
                b,
                c,
                chunk=config.chunk,
                backward=bool(backward),
            )
            y = y + (_later(scanned, -1)[:, 1:] if backward else _later(scanned, 1)[:, :-1])
        y = self.norm(y.flatten(2)) * torch.nn.functional.silu(gate)
        return self.out(y)  # type: ignore[no-any-return]


def _later(x: torch.Tensor, steps: int) -> torch.Tensor:
    """`x` with one row of zeros at its beginning (1) or its end (-1)."""
    return torch.nn.functional.pad(x, (0, 0, 0, 0, max(steps, 0), max(-steps, 0)))


class Network(torch.nn.Module):
    """Embeddings without positions, mixers each followed by a norm, and the head of a masked language model."""

    def __init__(self, config: Hydra) -> None:
        super().__init__()
        width = config.width
        self.embed = torch.nn.Embedding(config.vocabulary, width)
        self.segment = torch.nn.Embedding(2, width)
        self.embed_norm = torch.nn.LayerNorm(width, 1e-12)
        self.mixers = torch.nn.ModuleList(Mixer(config) for _ in range(config.layers))
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(width) for _ in range(config.layers))
        self.transform = torch.nn.Linear(width, width)
        self.head_norm = torch.nn.LayerNorm(width, 1e-12)
        self.head_bias = torch.nn.Parameter(torch.zeros(config.vocabulary))
        initialize(self, config.seed)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [batch, sequence, vocabulary] of ids int64 [batch, sequence], all of the first segment."""
        x = self.embed_norm(self.embed(ids) + self.segment.weight[0])
        for mixer, norm in zip(self.mixers, self.norms, strict=True):
            x = norm(x + mixer(x))
        x = self.head_norm(torch.nn.functional.gelu(self.transform(x)))
        return torch.nn.functional.linear(x, self.embed.weight, self.head_bias)
