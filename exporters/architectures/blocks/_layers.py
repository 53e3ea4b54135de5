r"""A transformer's layer: self-attention, cross-attention where there is an encoder, feed-forward, each a residual.

"pre"       x + f(norm x)              as GPT-2 and its successors have it
"post"      norm(x + f(x))             as in the first transformer and in BERT
"sandwich"  x + norm'(f(norm x))       as in Gemma 2
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from edgepack.exporters.architectures.blocks._attention import CrossAttention, Pair, Place, SelfAttention
from edgepack.exporters.architectures.blocks._rotary import Rotation

Norm = Callable[[int], torch.nn.Module]


class Residual(torch.nn.Module):
    """Where the norms of one residual stand: `leave(x, f(enter(x)))`.

    Args:
        width: Channels.
        norm: Makes a norm.
        order: One of the above.
    """

    def __init__(self, width: int, norm: Norm, order: str = "pre") -> None:
        super().__init__()
        self.order = order
        self.norm = norm(width)
        if order == "sandwich":
            self.after = norm(width)

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """What f sees."""
        return x if self.order == "post" else self.norm(x)

    def leave(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """`x` and what f made of it, as one."""
        if self.order == "sandwich":
            return x + self.after(y)  # type: ignore[no-any-return]
        return self.norm(x + y) if self.order == "post" else x + y


class Layer(torch.nn.Module):
    """Of an encoder, or of a decoder with or without cross-attention.

    Args:
        width: Channels.
        attention: See there.
        mlp: Any module of as many channels in as out.
        norm: Makes a norm.
        order: See `Residual`.
        cross: See there; None without an encoder.
    """

    def __init__(
        self,
        width: int,
        attention: SelfAttention,
        mlp: torch.nn.Module,
        norm: Norm,
        order: str = "pre",
        cross: CrossAttention | None = None,
    ) -> None:
        super().__init__()
        self.attention, self.mlp = attention, mlp
        self.mixing, self.feeding = Residual(width, norm, order), Residual(width, norm, order)
        if cross is not None:
            self.cross = cross
            self.crossing = Residual(width, norm, order)

    def forward(
        self,
        x: torch.Tensor,
        turn: Rotation | None = None,
        mask: torch.Tensor | None = None,
        memory: Pair | None = None,
        memory_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The whole sequence at once.

        Args:
            x: [batch, sequence, width].
            turn: Of all positions, where they are rotary.
            mask: Of the self-attention, as `attend` has it.
            memory: Keys and values of the cross-attention.
            memory_mask: Hides padding of the encoder's input.
        """
        mixed = self.attention(self.mixing.enter(x), turn, mask)
        return self._rest(self.mixing.leave(x, mixed), memory, memory_mask)

    def cached(
        self,
        x: torch.Tensor,
        place: Place,
        cache: Pair,
        memory: Pair | None = None,
        memory_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Pair]:
        """New positions against a cache (see `SelfAttention.cached`)."""
        mixed, cache = self.attention.cached(self.mixing.enter(x), place, cache)
        return self._rest(self.mixing.leave(x, mixed), memory, memory_mask), cache

    def _rest(self, x: torch.Tensor, memory: Pair | None, memory_mask: torch.Tensor | None) -> torch.Tensor:
        if memory is not None:
            x = self.crossing.leave(x, self.cross(self.crossing.enter(x), memory, memory_mask))
        return self.feeding.leave(x, self.mlp(self.feeding.enter(x)))


def layers(modules: torch.nn.ModuleList) -> Iterator[Layer]:
    """The layers in a list, by their type."""
    for module in modules:
        assert isinstance(module, Layer)  # noqa: S101 - tells type checkers
        yield module
