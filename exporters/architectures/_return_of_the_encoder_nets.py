"""The two networks that "Return of the Encoder" compares.

Both are pre-norm transformers: x + attention(norm x), then x + mlp(norm x), with tied embeddings. The
encoder-decoder's encoder sees its whole input in both directions, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._attention import CrossAttention, SelfAttention
from edgepack.exporters.architectures.blocks._encoder_decoder import EncoderDecoder
from edgepack.exporters.architectures.blocks._layers import Layer
from edgepack.exporters.architectures.blocks._mlp import GatedMLP
from edgepack.exporters.architectures.blocks._norm import RMSNorm
from edgepack.exporters.architectures.blocks._rotary import Rotation, rotation
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.return_of_the_encoder import LanguageModel


class Network(EncoderDecoder):
    """Embeddings, encoder layers (none in a decoder-only model), decoder layers, final norm."""

    padded = False

    def __init__(self, config: LanguageModel) -> None:
        super().__init__()
        self.config = config
        cross = config.encoder_layers > 0
        self.embed = torch.nn.Embedding(config.vocabulary, config.width)
        self.encoder = torch.nn.ModuleList(_layer(config, cross=False) for _ in range(config.encoder_layers))
        self.decoder = torch.nn.ModuleList(_layer(config, cross=cross) for _ in range(config.decoder_layers))
        if cross:
            self.encoder_norm = RMSNorm(config.width)
        self.norm = RMSNorm(config.width)
        initialize(self, config.seed)

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Rows of the table."""
        return self.embed(ids)  # type: ignore[no-any-return]

    def begin(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Rows of the same table."""
        del positions
        return self.embed(ids)  # type: ignore[no-any-return]

    def encoded(self, x: torch.Tensor) -> torch.Tensor:
        """Normalized."""
        return self.encoder_norm(x)  # type: ignore[no-any-return]

    def turn(self, positions: torch.Tensor, *, reading: bool = False) -> Rotation:
        """Rotary positions of a head, in both stacks."""
        del reading
        return rotation(positions, self.config.head_width)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the next token, with the embedding as the output matrix."""
        return torch.nn.functional.linear(self.norm(x), self.embed.weight)


def _layer(config: LanguageModel, *, cross: bool) -> Layer:
    return Layer(
        config.width,
        SelfAttention(config.width, config.heads),
        GatedMLP(config.width, config.hidden),
        RMSNorm,
        cross=CrossAttention(config.width, config.heads) if cross else None,
    )
