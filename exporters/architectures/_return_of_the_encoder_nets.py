"""The two networks that "Return of the Encoder" compares, and the graphs that they ship as.

Both are pre-norm transformers: x + attention(norm x), then x + mlp(norm x), with tied embeddings. The
encoder-decoder's encoder sees its whole input in both directions, once. Each network has `whole`, which takes a
complete sequence and knows no cache: the reference for its parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._attention import CrossAttention, Pair, SelfAttention
from edgepack.exporters.architectures.blocks._mlp import GatedMLP
from edgepack.exporters.architectures.blocks._norm import RMSNorm
from edgepack.exporters.architectures.blocks._rotary import Rotation, rotation
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.return_of_the_encoder import LanguageModel

_HIDDEN_SCORE = -70.0
"""Added to the scores of slots that are not seen. exp(-70) is nothing beside a float32 sum, and still a normal
number: ONNX Runtime bounds the argument of exp at -88.4, so that -1e9 or -inf gives subnormal weights, with which a
softmax over a prompt of 1024 tokens took about eight times as long."""


class Layer(torch.nn.Module):
    """Self-attention, cross-attention where there is an encoder, feed-forward."""

    def __init__(self, config: LanguageModel, *, cross: bool) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width)
        self.attention = SelfAttention(config.width, config.heads)
        if cross:
            self.cross_norm = RMSNorm(config.width)
            self.cross = CrossAttention(config.width, config.heads)
        self.mlp_norm = RMSNorm(config.width)
        self.mlp = GatedMLP(config.width, config.hidden)

    def forward(
        self, x: torch.Tensor, turn: Rotation, mask: torch.Tensor | None = None, memory: Pair | None = None
    ) -> torch.Tensor:
        """The whole sequence at once."""
        return self._rest(x + self.attention(self.attention_norm(x), turn, mask), memory)

    def cached(
        self,
        x: torch.Tensor,
        turn: Rotation,
        mask: torch.Tensor,
        index: torch.Tensor,
        cache: Pair,
        memory: Pair | None,
    ) -> tuple[torch.Tensor, Pair]:
        """New positions against a cache (see `SelfAttention.cached`)."""
        mixed, cache = self.attention.cached(self.attention_norm(x), turn, mask, index, cache)
        return self._rest(x + mixed, memory), cache

    def _rest(self, x: torch.Tensor, memory: Pair | None) -> torch.Tensor:
        if memory is not None:
            x = x + self.cross(self.cross_norm(x), memory)
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]


class Network(torch.nn.Module):
    """Embeddings, encoder layers (none in a decoder-only model), decoder layers, final norm."""

    def __init__(self, config: LanguageModel) -> None:
        super().__init__()
        self.config = config
        cross = config.encoder_layers > 0
        self.embed = torch.nn.Embedding(config.vocabulary, config.width)
        self.encoder = torch.nn.ModuleList(Layer(config, cross=False) for _ in range(config.encoder_layers))
        self.decoder = torch.nn.ModuleList(Layer(config, cross=cross) for _ in range(config.decoder_layers))
        if cross:
            self.encoder_norm = RMSNorm(config.width)
        self.norm = RMSNorm(config.width)
        initialize(self, config.seed)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the next token, with the embedding as the output matrix."""
        return torch.nn.functional.linear(self.norm(x), self.embed.weight)

    def encode(self, ids: torch.Tensor) -> list[torch.Tensor]:
        """Keys and values of every decoder layer's cross-attention, in turn."""
        x = self.embed(ids)
        turn = rotation(torch.arange(ids.shape[1]), self.config.head_width)
        for layer in layers(self.encoder):
            x = layer(x, turn)
        encoded = self.encoder_norm(x)
        return [tensor for layer in layers(self.decoder) for tensor in layer.cross.keys_values(encoded)]

    def whole(self, ids: torch.Tensor, memory: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        """Logits [batch, sequence, vocabulary] of a complete sequence, without caches."""
        length = ids.shape[1]
        x = self.embed(ids)
        turn = rotation(torch.arange(length), self.config.head_width)
        mask = torch.full((length, length), _HIDDEN_SCORE).triu(1)
        for i, layer in enumerate(layers(self.decoder)):
            x = layer(x, turn, mask, _pair(memory, i) if memory else None)
        return self.logits(x)


class Encoder(torch.nn.Module):
    """The part that reads the input, once: ids -> cross-attention keys and values."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """From ids, int64 [batch, sequence]."""
        return tuple(self.net.encode(ids))


class Decoder(torch.nn.Module):
    """The part that is called for a prompt and for every token: new tokens against the caches.

    `forward(ids, positions, slots, *states)`: states are the cross-attention keys and values of every layer
    (with an encoder), then the self-attention caches of every layer.
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor, *states: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Logits of the last token [batch, vocabulary], and the caches."""
        config = self.net.config
        crossed = 2 * config.decoder_layers if config.encoder_layers else 0
        memory, caches = states[:crossed], states[crossed:]
        mask = torch.where(slots[None, :] > positions[:, None], _HIDDEN_SCORE, 0.0)
        index = positions[None, None, :, None].expand(
            ids.shape[0], config.heads, ids.shape[1], config.head_width
        )
        turn = rotation(positions, config.head_width)
        x = self.net.embed(ids)
        after: list[torch.Tensor] = []
        for i, layer in enumerate(layers(self.net.decoder)):
            x, cache = layer.cached(
                x, turn, mask, index, _pair(caches, i), _pair(memory, i) if memory else None
            )
            after += cache
        # Only the last position chooses a token: a prompt's other rows of logits would be thrown away.
        return self.net.logits(x[:, -1]), *after


def _pair(tensors: Sequence[torch.Tensor], index: int) -> Pair:
    return tensors[2 * index], tensors[2 * index + 1]


def layers(modules: torch.nn.ModuleList) -> Iterator[Layer]:
    """The layers in a list, by their type."""
    for module in modules:
        assert isinstance(module, Layer)  # noqa: S101 - tells type checkers
        yield module
