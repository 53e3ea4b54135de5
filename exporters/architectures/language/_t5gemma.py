"""T5Gemma's network."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._attention import CrossAttention, SelfAttention
from edgepack.exporters.architectures.blocks._embeddings import Embeddings
from edgepack.exporters.architectures.blocks._encoder_decoder import EncoderDecoder
from edgepack.exporters.architectures.blocks._layers import Layer
from edgepack.exporters.architectures.blocks._mlp import GatedMLP, gelu_tanh
from edgepack.exporters.architectures.blocks._norm import RMSNorm
from edgepack.exporters.architectures.blocks._rotary import Rotation, rotation
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.language.t5gemma import Stack, T5Gemma

_SCORES, _LOGITS = 50.0, 30.0  # bounds
_norm = partial(RMSNorm, eps=1e-6, around_one=True)


class Network(EncoderDecoder):
    """Two stacks with tables and widths of their own."""

    def __init__(self, config: T5Gemma) -> None:
        super().__init__()
        self.config = config
        self.source, self.target = (_table(config, one) for one in (config.encoder, config.decoder))
        self.encoder = torch.nn.ModuleList(_layer(config.encoder) for _ in range(config.encoder.layers))
        memory = config.encoder.width
        self.decoder = torch.nn.ModuleList(
            _layer(config.decoder, memory) for _ in range(config.decoder.layers)
        )
        self.encoder_norm, self.norm = _norm(config.encoder.width), _norm(config.decoder.width)
        initialize(self, config.seed)

    def encoder_windows(self) -> list[int | None]:
        """Every other layer; w positions to either side are seen."""
        return _every_other(self.config.window + 1, len(self.encoder))

    def decoder_windows(self) -> list[int | None]:
        """Every other layer."""
        return _every_other(self.config.window, len(self.decoder))

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Scaled rows of the encoder's table."""
        return self.source(ids)  # type: ignore[no-any-return]

    def begin(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Scaled rows of the decoder's table."""
        del positions
        return self.target(ids)  # type: ignore[no-any-return]

    def encoded(self, x: torch.Tensor) -> torch.Tensor:
        """Normalized."""
        return self.encoder_norm(x)  # type: ignore[no-any-return]

    def turn(self, positions: torch.Tensor, *, reading: bool = False) -> Rotation:
        """Rotary positions of a head of one of the stacks."""
        return rotation(positions, (self.config.encoder if reading else self.config.decoder).head_width)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Bounded scores, with the decoder's table as the output matrix."""
        return (self.target.logits(self.norm(x)) * (1 / _LOGITS)).tanh() * _LOGITS


def _every_other(window: int, layers: int) -> list[int | None]:
    return [None if i % 2 else window for i in range(layers)]


def _table(config: T5Gemma, stack: Stack) -> Embeddings:
    return Embeddings(config.vocabulary, stack.width, norm=False, scale=math.sqrt(stack.width))


def _layer(stack: Stack, memory: int | None = None) -> Layer:
    attention = SelfAttention(
        stack.width, stack.heads, key_heads=stack.key_heads, head_width=stack.head_width, cap=_SCORES
    )
    cross = None
    if memory is not None:
        cross = CrossAttention(
            stack.width, stack.heads, key_heads=stack.key_heads, head_width=stack.head_width,
            memory_width=memory, cap=_SCORES,
        )  # fmt: skip
    mlp = GatedMLP(stack.width, stack.hidden, gelu_tanh)
    return Layer(stack.width, attention, mlp, _norm, "sandwich", cross)
