"""BART's network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._attention import CrossAttention, SelfAttention
from edgepack.exporters.architectures.blocks._embeddings import Embeddings
from edgepack.exporters.architectures.blocks._encoder_decoder import EncoderDecoder
from edgepack.exporters.architectures.blocks._layers import Layer
from edgepack.exporters.architectures.blocks._mlp import MLP
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.language.bart import Bart

_FIRST = 2  # row of position 0: the rows before it belong to padding


class Network(EncoderDecoder):
    """Both stacks, and the token table that they and the output share."""

    def __init__(self, config: Bart) -> None:
        super().__init__()
        self.config = config
        self.source, self.target = _table(config), _table(config)
        self.target.token = self.source.token
        self.encoder = torch.nn.ModuleList(_layer(config, cross=False) for _ in range(config.layers))
        self.decoder = torch.nn.ModuleList(_layer(config, cross=True) for _ in range(config.layers))
        initialize(self, config.seed)

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Rows of the encoder's tables."""
        return self.source(ids)  # type: ignore[no-any-return]

    def begin(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Rows of the decoder's tables."""
        return self.target(ids, positions)  # type: ignore[no-any-return]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scores, with the token table as the output matrix."""
        return self.target.logits(x)


def _table(config: Bart) -> Embeddings:
    return Embeddings(config.vocabulary, config.width, positions=config.positions + _FIRST, first=_FIRST)


def _layer(config: Bart, *, cross: bool) -> Layer:
    return Layer(
        config.width,
        SelfAttention(config.width, config.heads, bias=True),
        MLP(config.width, config.hidden),
        torch.nn.LayerNorm,
        "post",
        CrossAttention(config.width, config.heads, bias=True) if cross else None,
    )
