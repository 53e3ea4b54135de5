"""CRATE's layers, and the two networks that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._attention import attend, into_heads
from edgepack.exporters.architectures.blocks._embeddings import Embeddings
from edgepack.exporters.architectures.blocks._masks import causal, seen
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.language.crate import Crate

_STEP = _THRESHOLD = 0.1


class Compression(torch.nn.Module):
    """MSSA: attention whose queries, keys and values are one projection into subspaces."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.subspaces = torch.nn.Linear(width, width, bias=False)
        self.out = torch.nn.Linear(width, width)

    def forward(self, z: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The whole sequence at once; [batch, sequence, width] in and out."""
        w = into_heads(self.subspaces(z), self.heads)
        return self.out(attend(w, w, w, mask))  # type: ignore[no-any-return]

    def cached(
        self, z: torch.Tensor, mask: torch.Tensor, slot: torch.Tensor, cache: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """New tokens [batch, step, width] against a cache [batch, heads, capacity, width of a head]."""
        w = into_heads(self.subspaces(z), self.heads)
        cache = cache.scatter(2, slot, w)
        return self.out(attend(w, cache, cache, mask)), cache


class Sparsification(torch.nn.Module):
    """ISTA: one proximal gradient step of a nonnegative lasso, from y towards its code in a dictionary D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dictionary = torch.nn.Parameter(torch.empty(width, width))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """The same shape, nonnegative."""
        linear = torch.nn.functional.linear
        wrong = y - linear(y, self.dictionary)
        # D^T y - D^T D y is one product of D^T, where the formula has two.
        return torch.relu(y + _STEP * linear(wrong, self.dictionary.t()) - _STEP * _THRESHOLD)


class Layer(torch.nn.Module):
    """Compress, then sparsify."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.compress_norm, self.compress = torch.nn.LayerNorm(width), Compression(width, heads)
        self.sparsify_norm, self.sparsify = torch.nn.LayerNorm(width), Sparsification(width)

    def forward(self, z: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The whole sequence at once."""
        return self._rest(z + self.compress(self.compress_norm(z), mask))

    def cached(
        self, z: torch.Tensor, mask: torch.Tensor, slot: torch.Tensor, cache: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Compression.cached`."""
        mixed, cache = self.compress.cached(self.compress_norm(z), mask, slot, cache)
        return self._rest(z + mixed), cache

    def _rest(self, z: torch.Tensor) -> torch.Tensor:
        return self.sparsify(self.sparsify_norm(z))  # type: ignore[no-any-return]


class ImageNetwork(torch.nn.Module):
    """Patches, class token, layers, classes."""

    def __init__(self, config: Crate) -> None:
        super().__init__()
        self.config = config
        width, pixels = config.width, 3 * config.patch**2
        self.patch_norm, self.patch = torch.nn.LayerNorm(pixels), torch.nn.Linear(pixels, width)
        self.embed_norm = torch.nn.LayerNorm(width)
        self.position = torch.nn.Parameter(torch.empty(1, (config.image // config.patch) ** 2 + 1, width))
        self.token = torch.nn.Parameter(torch.empty(1, 1, width))
        self.layers = torch.nn.ModuleList(Layer(width, config.heads) for _ in range(config.layers))
        self.norm, self.head = torch.nn.LayerNorm(width), torch.nn.Linear(width, config.outputs)
        initialize(self, config.seed)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scores [batch, classes] of images [batch, 3, side, side]."""
        side, patch = self.config.image // self.config.patch, self.config.patch
        cut = image.reshape(-1, 3, side, patch, side, patch).permute(0, 2, 4, 3, 5, 1)
        z = self.embed_norm(self.patch(self.patch_norm(cut.reshape(-1, side * side, 3 * patch * patch))))
        z = torch.cat([self.token.expand(z.shape[0], -1, -1), z], 1) + self.position
        for layer in self.layers:
            z = layer(z)
        return self.head(self.norm(z[:, 0]))  # type: ignore[no-any-return]


class TextNetwork(torch.nn.Module):
    """Tokens, causal layers, the token table as the output matrix."""

    def __init__(self, config: Crate) -> None:
        super().__init__()
        self.config = config
        self.embed = Embeddings(config.outputs, config.width, positions=config.positions, norm=False)
        self.layers = torch.nn.ModuleList(Layer(config.width, config.heads) for _ in range(config.layers))
        initialize(self, config.seed)

    def whole(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [batch, sequence, tokens] of a complete sequence, without caches."""
        z = self.embed(ids)
        for layer in self.layers:
            z = layer(z, causal(ids.shape[1]))
        return self.embed.logits(z)

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor, *caches: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Logits of the last of new tokens, and the caches.

        Args:
            ids: int64 [batch, step].
            positions: int64 [step].
            slots: int64 [capacity]: 0, 1, ...
            caches: One a layer.
        """
        heads, wide = self.config.heads, self.config.width // self.config.heads
        slot = positions[None, None, :, None].expand(ids.shape[0], heads, ids.shape[1], wide)
        mask = seen(positions, slots)
        z = self.embed(ids, positions)
        after: Sequence[torch.Tensor] = ()
        for layer, cache in zip(self.layers, caches, strict=True):
            assert isinstance(layer, Layer)  # noqa: S101 - tells type checkers
            z, new = layer.cached(z, mask, slot, cache)
            after = (*after, new)
        return self.embed.logits(z[:, -1]), *after
