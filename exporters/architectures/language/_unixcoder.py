"""UniXcoder's one stack, and the three ways in which it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._attention import Place
from edgepack.exporters.architectures.blocks._encoder_decoder import pair
from edgepack.exporters.architectures.blocks._layers import layers
from edgepack.exporters.architectures.blocks._masks import hide, padding, prefix
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.language._two_stacks import layer, table

if TYPE_CHECKING:
    from edgepack.exporters.architectures.language.unixcoder import UniXcoder


class Network(torch.nn.Module):
    """Tables and layers."""

    def __init__(self, config: UniXcoder) -> None:
        super().__init__()
        self.config = config
        self.embed = table(config, config.segments)
        self.layers = torch.nn.ModuleList(layer(config) for _ in range(config.layers))
        initialize(self, config.seed)

    def vectors(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Of every token [batch, sequence, width], under a mask as attention has it."""
        x = self.embed(ids)
        for one in layers(self.layers):
            x = one(x, mask=mask)
        return x  # type: ignore[no-any-return]

    def whole(self, ids: torch.Tensor, source: int = 0) -> torch.Tensor:
        """Logits of a complete sequence whose first `source` tokens see one another, without caches."""
        return self.embed.logits(self.vectors(ids, prefix(ids.shape[1], source)))

    def write(
        self, ids: torch.Tensor, positions: torch.Tensor, place: Place, caches: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        """Logits of the last of new tokens, and the caches with them."""
        x = self.embed(ids, positions)
        after: list[torch.Tensor] = []
        for i, one in enumerate(layers(self.layers)):
            x, cache = one.cached(x, place, pair(caches, i))
            after += cache
        return self.embed.logits(x[:, -1]), *after

    def place(self, ids: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor) -> Place:
        """Where new tokens stand, causally."""
        return next(layers(self.layers)).attention.place(ids.shape[0], positions, slots)


class Encoder(torch.nn.Module):
    """Encoder-only mode."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of tokens [batch, sequence, width] and of sequences [batch, width], the mean of their tokens'."""
        vectors = self.net.vectors(ids, padding(real))
        weights = real.to(vectors.dtype)[..., None]
        # A row of padding only fills a place in the batch: it has a mean of zeros, and not none.
        return vectors, (vectors * weights).sum(1) / weights.sum(1).clamp(min=1.0)


class Context(torch.nn.Module):
    """Encoder-decoder mode: the source."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: torch.Tensor, slots: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits of what follows the source [batch, source], and caches of as many slots as `slots` numbers."""
        net, config = self.net, self.net.config
        positions = torch.arange(ids.shape[1])
        shape = (ids.shape[0], config.heads, slots.shape[0], config.width // config.heads)
        empty = tuple(torch.zeros(shape) for _ in range(2 * config.layers))
        both_ways = hide(slots[None, :] >= ids.shape[1])
        place = net.place(ids, positions, slots)._replace(mask=both_ways)
        return net.write(ids, positions, place, empty)


class Decoder(torch.nn.Module):
    """New tokens, each seeing what is in the caches up to it."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor, *caches: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Logits of the last of new tokens [batch, step], and the caches."""
        return self.net.write(ids, positions, self.net.place(ids, positions, slots), caches)
