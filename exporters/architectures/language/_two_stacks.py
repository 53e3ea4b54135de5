"""Two stacks as BART and RoBERTa have them: a norm after each residual, biases everywhere, tables of positions."""

from __future__ import annotations

from typing import Protocol

import torch

from edgepack.exporters.architectures.blocks._attention import CrossAttention, SelfAttention
from edgepack.exporters.architectures.blocks._embeddings import Embeddings
from edgepack.exporters.architectures.blocks._encoder_decoder import EncoderDecoder
from edgepack.exporters.architectures.blocks._layers import Layer
from edgepack.exporters.architectures.blocks._mlp import MLP

_FIRST = 2  # row of position 0: the rows before it belong to padding


class Sizes(Protocol):
    """What configurations have: channels, heads, channels between, layers of a stack, tokens, positions."""

    @property
    def width(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def positions(self) -> int: ...


class TwoStacks(EncoderDecoder):
    """Both stacks and their tables; the token table of the decoder is the output matrix.

    Args:
        sizes: See there.
        segments: Rows of the tables of segments, of which all tokens use the first; 0 where there are none.
        shared: Whether both stacks have one token table.
    """

    def __init__(self, sizes: Sizes, *, segments: int = 0, shared: bool = False) -> None:
        super().__init__()
        self.source, self.target = table(sizes, segments), table(sizes, segments)
        if shared:
            self.target.token = self.source.token
        self.encoder = torch.nn.ModuleList(layer(sizes) for _ in range(sizes.layers))
        self.decoder = torch.nn.ModuleList(layer(sizes, cross=True) for _ in range(sizes.layers))

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Rows of the encoder's tables."""
        return self.source(ids)  # type: ignore[no-any-return]

    def begin(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Rows of the decoder's tables."""
        return self.target(ids, positions)  # type: ignore[no-any-return]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the next token."""
        return self.target.logits(x)


def table(sizes: Sizes, segments: int) -> Embeddings:
    """Tokens, positions, and segments where there are any."""
    positions = sizes.positions + _FIRST
    return Embeddings(sizes.vocabulary, sizes.width, positions=positions, segments=segments, first=_FIRST)


def layer(sizes: Sizes, *, cross: bool = False) -> Layer:
    """Of an encoder, or with cross-attention of a decoder."""
    return Layer(
        sizes.width,
        SelfAttention(sizes.width, sizes.heads, bias=True),
        MLP(sizes.width, sizes.hidden),
        torch.nn.LayerNorm,
        "post",
        CrossAttention(sizes.width, sizes.heads, bias=True) if cross else None,
    )
