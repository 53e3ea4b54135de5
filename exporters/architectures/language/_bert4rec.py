"""BERT4Rec's network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import gelu

from edgepack.exporters.architectures.blocks._attention import SelfAttention
from edgepack.exporters.architectures.blocks._embeddings import Embeddings
from edgepack.exporters.architectures.blocks._layers import Layer, layers
from edgepack.exporters.architectures.blocks._masks import HIDDEN_SCORE, padding
from edgepack.exporters.architectures.blocks._mlp import MLP
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.architectures.language.bert4rec import Recommender

_EPS = 1e-12  # of every norm, as in BERT


class Network(torch.nn.Module):
    """Item and position tables, encoder, scores of all items, the best of them."""

    barred: torch.Tensor

    def __init__(self, config: Recommender) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed = Embeddings(config.vocabulary, width, positions=config.positions, eps=_EPS)
        self.layers = torch.nn.ModuleList(
            Layer(width, SelfAttention(width, config.heads, bias=True), MLP(width, 4 * width), _norm, "post")
            for _ in range(config.layers)
        )
        self.transform, self.transform_norm = torch.nn.Linear(width, width), _norm(width)
        self.bias = torch.nn.Parameter(torch.zeros(config.vocabulary))
        barred = torch.zeros(config.vocabulary)
        barred[[0, -1]] = HIDDEN_SCORE
        self.register_buffer("barred", barred, persistent=False)
        initialize(self, config.seed)

    def score(self, history: torch.Tensor) -> torch.Tensor:
        """Scores [batch, items + 2] at the last place of `history` [batch, positions]."""
        hidden = padding((history != 0).to(torch.int64))
        x = self.embed(history)
        for layer in layers(self.layers):
            x = layer(x, mask=hidden)
        # Only the place of [mask] is asked.
        last = self.transform_norm(gelu(self.transform(x[:, -1])))
        return self.embed.logits(last) + self.bias

    def forward(self, history: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids, int64, and scores of the items recommended, best first: each [batch, best]."""
        scores, items = (self.score(history) + self.barred).topk(self.config.best)
        return items, scores


def _norm(width: int) -> torch.nn.LayerNorm:
    return torch.nn.LayerNorm(width, _EPS)


def histories(shape: tuple[int, ...], items: int) -> np.ndarray:
    """Random histories [batch, positions] of several lengths, padded in front, the last item [mask]."""
    import numpy as np

    made = np.random.default_rng(shape[0]).integers(1, items + 1, shape)
    for row, history in enumerate(made):
        history[: 3 * row % (shape[1] // 2)] = 0
    made[:, -1] = items + 1
    return made
