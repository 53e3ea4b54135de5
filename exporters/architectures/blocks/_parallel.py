r"""A layer whose attention and feed-forward network read the same x and are added to it at once.

x + attention(n x) + mlp(n x)        one norm, as GPT-J and CodeGen have it
x + attention(n x) + mlp(m x)        two, as in GPT-NeoX (arXiv:2204.06745, section 2.1.2)

The two run side by side where a target can do so; the result differs from that of one after the other.
"""

from __future__ import annotations

import torch

from edgepack.exporters.architectures.blocks._attention import Pair, Place, SelfAttention
from edgepack.exporters.architectures.blocks._layers import Layer, Norm
from edgepack.exporters.architectures.blocks._rotary import Rotation


class ParallelLayer(Layer):
    """Of a decoder without cross-attention.

    Args:
        width: Channels.
        attention: See there.
        mlp: Any module of as many channels in as out.
        norm: Makes a norm.
        norms: 1 or 2.
    """

    def __init__(
        self, width: int, attention: SelfAttention, mlp: torch.nn.Module, norm: Norm, norms: int = 1
    ) -> None:
        super().__init__(width, attention, mlp, norm)
        if norms == 1:
            self.feeding = self.mixing

    def forward(
        self,
        x: torch.Tensor,
        turn: Rotation | None = None,
        mask: torch.Tensor | None = None,
        memory: Pair | None = None,
        memory_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The whole sequence at once; see `Layer`."""
        del memory, memory_mask
        entered = self.mixing.enter(x)
        return x + self.attention(entered, turn, mask) + self._fed(x, entered)  # type: ignore[no-any-return]

    def cached(
        self,
        x: torch.Tensor,
        place: Place,
        cache: Pair,
        memory: Pair | None = None,
        memory_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Pair]:
        """New positions against a cache; see `Layer`."""
        del memory, memory_mask
        entered = self.mixing.enter(x)
        mixed, cache = self.attention.cached(entered, place, cache)
        return x + mixed + self._fed(x, entered), cache

    def _fed(self, x: torch.Tensor, entered: torch.Tensor) -> torch.Tensor:
        return self.mlp(entered if self.feeding is self.mixing else self.feeding.enter(x))  # type: ignore[no-any-return]
