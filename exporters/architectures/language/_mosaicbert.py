"""MosaicBERT's network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import gelu

from edgepack.exporters.architectures.blocks._alibi import alibi
from edgepack.exporters.architectures.blocks._attention import SelfAttention
from edgepack.exporters.architectures.blocks._embeddings import Embeddings
from edgepack.exporters.architectures.blocks._layers import Layer, layers
from edgepack.exporters.architectures.blocks._masks import same
from edgepack.exporters.architectures.blocks._mlp import GatedMLP
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.architectures.language.mosaicbert import MosaicBert

_EPS = 1e-12  # of every norm, as in BERT
_norm = partial(torch.nn.LayerNorm, eps=_EPS)


class Network(torch.nn.Module):
    """Tables, encoder, masked language model head."""

    def __init__(self, config: MosaicBert) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed = Embeddings(config.vocabulary, width, segments=2, eps=_EPS)
        self.layers = torch.nn.ModuleList(
            Layer(
                width,
                SelfAttention(width, config.heads, bias=True),
                GatedMLP(width, config.hidden, gelu, down_bias=True),
                _norm,
                "post",
            )
            for _ in range(config.layers)
        )
        self.transform, self.transform_norm = torch.nn.Linear(width, width), _norm(width)
        self.bias = torch.nn.Parameter(torch.zeros(config.vocabulary))
        initialize(self, config.seed)

    def forward(self, ids: torch.Tensor, text: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        """Scores [batch, sequence, vocabulary].

        Args:
            ids: int64 [batch, sequence].
            text: As `ids`: the number of the text in its row that a token belongs to, 0 for padding.
            types: As `ids`: 0 and 1 for first and second sentences.
        """
        position = torch.arange(ids.shape[1])
        mask = same(text) + alibi(position, position, self.config.heads)
        x = self.embed(ids, segments=types)
        for layer in layers(self.layers):
            x = layer(x, mask=mask)
        return self.embed.logits(self.transform_norm(gelu(self.transform(x)))) + self.bias


def texts(shape: tuple[int, ...]) -> np.ndarray:
    """Two texts and padding in every row [batch, sequence]."""
    import numpy as np

    at = np.arange(shape[1])[None, :] + np.arange(shape[0])[:, None]
    return np.where(at < shape[1] // 2, 1, np.where(at < shape[1] - 1, 2, 0)).astype(np.int64)
