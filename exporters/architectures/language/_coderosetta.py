"""CodeRosetta's network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import gelu

from edgepack.exporters.architectures.blocks._attention import CrossAttention, SelfAttention
from edgepack.exporters.architectures.blocks._embeddings import Embeddings
from edgepack.exporters.architectures.blocks._encoder_decoder import EncoderDecoder
from edgepack.exporters.architectures.blocks._layers import Layer
from edgepack.exporters.architectures.blocks._mlp import MLP
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.language.coderosetta import Translator

_FIRST = 2  # row of position 0, as in RoBERTa: the rows before it belong to padding


class Network(EncoderDecoder):
    """Two RoBERTa stacks and a head."""

    def __init__(self, config: Translator) -> None:
        super().__init__()
        width = config.width
        self.source, self.target = _table(config), _table(config)
        self.encoder = torch.nn.ModuleList(_layer(config, cross=False) for _ in range(config.layers))
        self.decoder = torch.nn.ModuleList(_layer(config, cross=True) for _ in range(config.layers))
        self.transform, self.transform_norm = torch.nn.Linear(width, width), torch.nn.LayerNorm(width)
        self.bias = torch.nn.Parameter(torch.zeros(config.vocabulary))
        initialize(self, config.seed)

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Rows of the encoder's tables."""
        return self.source(ids)  # type: ignore[no-any-return]

    def begin(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Rows of the decoder's tables."""
        return self.target(ids, positions)  # type: ignore[no-any-return]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the next token."""
        return self.target.logits(self.transform_norm(gelu(self.transform(x)))) + self.bias


def _table(config: Translator) -> Embeddings:
    return Embeddings(
        config.vocabulary, config.width,
        positions=config.positions + _FIRST, segments=config.segments, first=_FIRST,
    )  # fmt: skip


def _layer(config: Translator, *, cross: bool) -> Layer:
    return Layer(
        config.width,
        SelfAttention(config.width, config.heads, bias=True),
        MLP(config.width, config.hidden),
        torch.nn.LayerNorm,
        "post",
        CrossAttention(config.width, config.heads, bias=True) if cross else None,
    )
