"""Uni-Encoder's network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._attention import SelfAttention
from edgepack.exporters.architectures.blocks._embeddings import Embeddings
from edgepack.exporters.architectures.blocks._layers import Layer, layers
from edgepack.exporters.architectures.blocks._masks import hide, padding
from edgepack.exporters.architectures.blocks._mlp import MLP
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.architectures.language.uni_encoder import Scorer

_EPS = 1e-12  # of every norm, as in BERT
_norm = partial(torch.nn.LayerNorm, eps=_EPS)


class Network(torch.nn.Module):
    """BERT's tables and layers, and a product that scores a mean."""

    def __init__(self, config: Scorer) -> None:
        super().__init__()
        self.arrow = config.attention == "arrow"
        width = config.width
        self.embed = Embeddings(config.vocabulary, width, positions=config.positions, segments=2, eps=_EPS)
        self.layers = torch.nn.ModuleList(
            Layer(
                width, SelfAttention(width, config.heads, bias=True), MLP(width, config.hidden), _norm, "post"
            )
            for _ in range(config.layers)
        )
        self.score = torch.nn.Linear(width, 1)
        initialize(self, config.seed)

    def forward(
        self,
        context: torch.Tensor,
        context_real: torch.Tensor,
        answers: torch.Tensor,
        answers_real: torch.Tensor,
    ) -> torch.Tensor:
        """Scores [batch, candidates].

        Args:
            context: int64 [batch, sequence].
            context_real: As `context`: 1 for a token, 0 for padding.
            answers: int64 [batch, candidates, answer].
            answers_real: As `answers`.
        """
        batch, length = context.shape
        _, count, answer = answers.shape
        # 0 for the context, 1, 2, ... for the candidates
        whose = torch.arange(1, count + 1)[:, None].expand(count, answer).reshape(-1)
        whose = torch.cat([torch.zeros(length, dtype=torch.int64), whose])
        unseen = (whose[:, None] != whose[None, :]) & (whose[None, :] != 0)
        if self.arrow:
            unseen = unseen & (whose[:, None] != 0)
        real = torch.cat([context_real, answers_real.reshape(batch, -1)], 1)
        mask = hide(unseen) + padding(real)
        # Every candidate goes on where the context's tokens end.
        after = context_real.sum(1)[:, None, None] + torch.arange(answer)
        after = after.expand(batch, count, answer).reshape(batch, -1)
        positions = torch.cat([torch.arange(length)[None].expand(batch, length), after], 1)
        ids = torch.cat([context, answers.reshape(batch, -1)], 1)
        x = self.embed(ids, positions, (whose != 0).to(torch.int64)[None].expand(batch, whose.shape[0]))
        for layer in layers(self.layers):
            x = layer(x, mask=mask)
        own = x[:, length:].reshape(batch, count, answer, -1)
        weights = answers_real.to(x.dtype)[..., None]
        # A candidate of padding only fills a place in the batch: it has a mean of zeros, and not none.
        mean = (own * weights).sum(2) / weights.sum(2).clamp(min=1.0)
        return self.score(mean)[..., 0]  # type: ignore[no-any-return]


def shorter(shape: tuple[int, ...]) -> np.ndarray:
    """Which tokens are real [.., tokens]: all but the last of every other row."""
    import numpy as np

    made = np.ones((int(np.prod(shape[:-1])), shape[-1]), np.int64)
    if shape[-1] > 1:
        made[1::2, -1] = 0
    return made.reshape(shape)
