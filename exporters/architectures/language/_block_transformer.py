"""The Block Transformer's network: an embedder of blocks, a decoder over blocks, a decoder within a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._attention import Place
from edgepack.exporters.architectures.blocks._encoder_decoder import pair
from edgepack.exporters.architectures.blocks._layers import layers
from edgepack.exporters.architectures.blocks._masks import causal
from edgepack.exporters.architectures.blocks._mlp import MLP
from edgepack.exporters.architectures.blocks._parallel import ParallelLayer
from edgepack.exporters.architectures.blocks._partial_rotary import PartialRotaryAttention
from edgepack.exporters.architectures.blocks._rotary import rotation
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.language.block_transformer import BlockTransformer

Caches = tuple[torch.Tensor, ...]


class Stack(torch.nn.Module):
    """Layers as in GPT-NeoX, and the norm behind them."""

    def __init__(self, config: BlockTransformer, count: int) -> None:
        super().__init__()
        self.turned = config.turned
        self.layers = torch.nn.ModuleList(
            ParallelLayer(
                config.width,
                PartialRotaryAttention(config.width, config.heads, config.turned, bias=True),
                MLP(config.width, 4 * config.width),
                torch.nn.LayerNorm,
                norms=2,
            )
            for _ in range(count)
        )
        self.norm = torch.nn.LayerNorm(config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A whole sequence [batch, sequence, width] at once, each position seeing those before it."""
        turn, mask = rotation(torch.arange(x.shape[1]), self.turned), causal(x.shape[1])
        for layer in layers(self.layers):
            x = layer(x, turn, mask)
        return self.norm(x)  # type: ignore[no-any-return]

    def cached(
        self, x: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor, caches: Caches
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The last of new positions [batch, width], and caches with all of them."""
        attention = next(layers(self.layers)).attention
        place: Place = attention.place(x.shape[0], positions, slots, rotation(positions, self.turned))
        after: list[torch.Tensor] = []
        for i, layer in enumerate(layers(self.layers)):
            x, cache = layer.cached(x, place, pair(caches, i))
            after += cache
        return self.norm(x[:, -1]), after


class Network(torch.nn.Module):
    """All of it; tokens have a table for the embedder, one for the token decoder, and an output matrix."""

    def __init__(self, config: BlockTransformer) -> None:
        super().__init__()
        self.config = config
        self.embedder = torch.nn.Embedding(config.vocabulary, config.width // config.length)
        self.blocks = Stack(config, config.block_layers)
        self.expand = torch.nn.Linear(config.width, config.prefix * config.width)
        self.embed = torch.nn.Embedding(config.vocabulary, config.width)
        self.tokens = Stack(config, config.token_layers)
        self.head = torch.nn.Linear(config.width, config.vocabulary, bias=False)
        initialize(self, config.seed)

    def embedded(self, ids: torch.Tensor) -> torch.Tensor:
        """Blocks [batch, blocks, length] as vectors [batch, blocks, width], their tokens' side by side."""
        return self.embedder(ids).flatten(2)  # type: ignore[no-any-return]

    def prefix(self, context: torch.Tensor) -> torch.Tensor:
        """What a block's decoding begins with [batch, prefix, width], from its context [batch, width]."""
        return self.expand(context).reshape(context.shape[0], self.config.prefix, -1)  # type: ignore[no-any-return]

    def contexts(self, ids: torch.Tensor) -> torch.Tensor:
        """What follows each of all blocks, as vectors [batch, blocks, width], without caches."""
        return self.blocks(self.embedded(ids))  # type: ignore[no-any-return]

    def whole(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of all blocks but the first [batch, blocks - 1, length, vocabulary], without caches."""
        batch, count, length = ids.shape
        context = self.contexts(ids)[:, :-1].flatten(0, 1)
        own = self.embed(ids[:, 1:, :-1].flatten(0, 1))
        x = self.tokens(torch.cat([self.prefix(context), own], 1))
        return self.head(x[:, -length:]).reshape(batch, count - 1, length, -1)  # type: ignore[no-any-return]


class Block(torch.nn.Module):
    """New blocks against the global caches, to the context of the block behind them."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor, *caches: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Context [batch, width] and caches, from blocks [batch, step, length] at positions [step], in blocks."""
        context, after = self.net.blocks.cached(self.net.embedded(ids), positions, slots, caches)
        return context, *after


class Begin(torch.nn.Module):
    """A block's context, to its first token and new local caches."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, context: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits [batch, vocabulary] and caches of the block."""
        net, config = self.net, self.net.config
        shape = (context.shape[0], config.heads, config.local, config.width // config.heads)
        empty = tuple(torch.zeros(shape) for _ in range(2 * config.token_layers))
        x, after = net.tokens.cached(
            net.prefix(context), torch.arange(config.prefix), torch.arange(config.local), empty
        )
        return net.head(x), *after


class Token(torch.nn.Module):
    """A token within its block, to the next one of the same block."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, ids: torch.Tensor, position: torch.Tensor, *caches: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Logits [batch, vocabulary] and caches, after a token [batch], the prefix counting in its position [1]."""
        net = self.net
        slots = torch.arange(net.config.local)
        x, after = net.tokens.cached(net.embed(ids[:, None]), position, slots, caches)
        return net.head(x), *after
