"""CodeGen2's network, and the three ways in which it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._encoder_decoder import pair
from edgepack.exporters.architectures.blocks._layers import layers
from edgepack.exporters.architectures.blocks._masks import hide, prefix
from edgepack.exporters.architectures.blocks._mlp import MLP, gelu_tanh
from edgepack.exporters.architectures.blocks._parallel import ParallelLayer
from edgepack.exporters.architectures.blocks._partial_rotary import PartialRotaryAttention
from edgepack.exporters.architectures.blocks._rotary import rotation
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.language.codegen2 import CodeGen2


class Network(torch.nn.Module):
    """One stack; the output matrix is not the token table."""

    def __init__(self, config: CodeGen2) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed = torch.nn.Embedding(config.vocabulary, width)
        self.layers = torch.nn.ModuleList(
            ParallelLayer(
                width,
                PartialRotaryAttention(width, config.heads, config.turned),
                MLP(width, 4 * width, gelu_tanh),
                torch.nn.LayerNorm,
            )
            for _ in range(config.layers)
        )
        self.norm = torch.nn.LayerNorm(width)
        self.head = torch.nn.Linear(width, config.vocabulary)
        initialize(self, config.seed)

    def whole(self, ids: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Logits [batch, sequence, vocabulary] of a complete sequence whose first tokens see one another."""
        turn = rotation(torch.arange(ids.shape[1]), self.config.turned)
        mask = prefix(ids.shape[1], first)
        x = self.embed(ids)
        for layer in layers(self.layers):
            x = layer(x, turn, mask)
        return self.head(self.norm(x))  # type: ignore[no-any-return]

    def read(self, ids: torch.Tensor, first: torch.Tensor, slots: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits of what follows ids [batch, length], and caches of as many slots as `slots` numbers.

        Args:
            ids: int64 [batch, length].
            first: int64 [1]: how many of them see one another; the others see what is before them.
            slots: int64 [capacity]: 0, 1, ..., no fewer than `length`.
        """
        config = self.config
        shape = (ids.shape[0], config.heads, slots.shape[0], config.width // config.heads)
        empty = tuple(torch.zeros(shape) for _ in range(2 * config.layers))
        return self.write(ids, torch.arange(ids.shape[1]), slots, empty, first)

    def write(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        caches: tuple[torch.Tensor, ...],
        first: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Logits of the last of new tokens, and the caches with them."""
        turn = rotation(positions, self.config.turned)
        place = next(layers(self.layers)).attention.place(ids.shape[0], positions, slots, turn)
        if first is not None:
            # No prefix is longer than what is there: slots that nothing was written to stay unseen.
            seen = torch.minimum(first, positions[-1:] + 1)
            hidden = (slots[None, :] > positions[:, None]) & (slots[None, :] >= seen)
            place = place._replace(mask=hide(hidden))
        x = self.embed(ids)
        after: list[torch.Tensor] = []
        for i, layer in enumerate(layers(self.layers)):
            x, cache = layer.cached(x, place, pair(caches, i))
            after += cache
        return self.head(self.norm(x[:, -1])), *after


class Prefill(torch.nn.Module):
    """A prompt, of which a prefix sees itself in both directions."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, ids: torch.Tensor, prefix: torch.Tensor, slots: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """See `Network.read`."""
        return self.net.read(ids, prefix, slots)


class Infill(torch.nn.Module):
    """What stands before and behind a gap: from here on, the decoder writes what belongs into it."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net
        config = net.config
        self.register_buffer("gap", torch.tensor([[config.gap]]), persistent=False)
        self.register_buffer(
            "ask", torch.tensor([[config.end, config.separator, config.gap]]), persistent=False
        )

    def forward(
        self, before: torch.Tensor, behind: torch.Tensor, prefix: torch.Tensor, slots: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """As `Network.read`, of [before, gap, behind, end, separator, gap]."""
        batch = before.shape[0]
        gap, ask = self.get_buffer("gap"), self.get_buffer("ask")
        ids = torch.cat([before, gap.expand(batch, 1), behind, ask.expand(batch, 3)], 1)
        return self.net.read(ids, prefix, slots)


class Decode(torch.nn.Module):
    """One token against the caches."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, ids: torch.Tensor, position: torch.Tensor, slots: torch.Tensor, *caches: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Logits [batch, vocabulary] after a token [batch] at a position [1], and the caches."""
        return self.net.write(ids[:, None], position, slots, caches)
