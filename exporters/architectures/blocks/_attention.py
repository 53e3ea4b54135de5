r"""Attention over several heads: softmax(q k^T s + mask) v, with s = 1 / sqrt(w) and w the width of a head.

Keys and values may have fewer heads than queries, each serving a group of them (J. Ainslie et al., GQA,
arXiv:2305.13245), and scores may be bounded to c tanh(score / c).

`SelfAttention` writes its keys and values into a cache of fixed capacity, an input that comes back as an
output with the new positions filled in:

    keys'[:, :, positions] = k,   values'[:, :, positions] = v,   attend over all slots, masked to those seen.

A cache that grows by concatenation is copied whole at every step. This one is a scatter whose input and
output may lie in one buffer: a step writes what is new and copies nothing.

`CrossAttention` never sees the encoder's states in the decoder: its keys and values are computed once
(`keys_values`) and are inputs of every step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from edgepack.exporters.architectures.blocks._masks import seen
from edgepack.exporters.architectures.blocks._rotary import Rotation, rotate

Pair = tuple[torch.Tensor, torch.Tensor]


class Place(NamedTuple):
    """Where new positions stand in a cache.

    Attributes:
        mask: Added to the scores, [step, capacity].
        slot: int64 [batch, key heads, step, width of a head]: the slot of every new position.
        turn: Of the new positions, where positions are rotary.
    """

    mask: torch.Tensor
    slot: torch.Tensor
    turn: Rotation | None = None


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    scale: float | None = None,
    cap: float | None = None,
) -> torch.Tensor:
    """Weighted sums of `v`.

    Args:
        q: [batch, heads, step, width].
        k: [batch, key heads, slots, width]; heads are a multiple of key heads.
        v: As `k`.
        mask: Added to the scores, [step, slots], or with heads and batch before them.
        scale: Of the scores; 1 / sqrt(width) where None.
        cap: Bound of the scores, before the mask.

    Returns:
        [batch, step, heads * width].
    """
    heads, group = q.shape[1], q.shape[1] // k.shape[1]
    if group > 1:
        # The heads that share a key stand below one another as one longer query: no key is copied.
        q = q.reshape(q.shape[0], k.shape[1], -1, q.shape[-1])
        mask = None if mask is None else _grouped(mask, group, heads)
    # The query is scaled, not the product: it is the smallest of the three.
    scores = (q * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)) @ k.transpose(-1, -2)
    if cap is not None:
        scores = (scores * (1 / cap)).tanh() * cap
    mixed = (scores if mask is None else scores + mask).softmax(-1) @ v
    if group > 1:
        mixed = mixed.reshape(mixed.shape[0], heads, -1, mixed.shape[-1])
    return mixed.transpose(1, 2).flatten(2)


def _grouped(mask: torch.Tensor, group: int, heads: int) -> torch.Tensor:
    """A mask for queries that stand `group` heads below one another."""
    if mask.ndim > 2 and mask.shape[-3] == heads:  # noqa: PLR2004 - one mask a head
        return mask.reshape(*mask.shape[:-3], heads // group, -1, mask.shape[-1])
    if mask.shape[-2] == 1:
        return mask
    return mask.repeat(*[1] * (mask.ndim - 2), group, 1)


def split(x: torch.Tensor, count: int, heads: int) -> tuple[torch.Tensor, ...]:
    """`count` tensors [batch, heads, step, width] out of one projection [batch, step, count * heads * width]."""
    return tuple(into_heads(part, heads) for part in x.chunk(count, -1))


def into_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[batch, heads, step, width] from [batch, step, heads * width]."""
    batch, step, _ = x.shape
    return x.reshape(batch, step, heads, -1).transpose(1, 2)


class SelfAttention(torch.nn.Module):
    """`width` channels in `heads` heads.

    Args:
        width: Channels in and out.
        heads: Of queries.
        key_heads: Of keys and values; as many as `heads` where None.
        head_width: Channels of a head; width / heads where None.
        bias: All four projections have one.
        scale: As `attend` has it.
        cap: As `attend` has it.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        key_heads: int | None = None,
        head_width: int | None = None,
        bias: bool = False,
        scale: float | None = None,
        cap: float | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.key_heads = heads, key_heads or heads
        self.head_width = head_width or width // heads
        self.scale, self.cap = scale, cap
        self.qkv = torch.nn.Linear(width, (heads + 2 * self.key_heads) * self.head_width, bias=bias)
        self.out = torch.nn.Linear(heads * self.head_width, width, bias=bias)

    def forward(
        self, x: torch.Tensor, turn: Rotation | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The whole sequence at once, without a cache; [batch, sequence, width] in and out."""
        q, k, v = self._projected(x, turn)
        return self.out(attend(q, k, v, mask, scale=self.scale, cap=self.cap))  # type: ignore[no-any-return]

    def place(
        self,
        batch: int,
        positions: torch.Tensor,
        slots: torch.Tensor,
        turn: Rotation | None = None,
        window: int | None = None,
    ) -> Place:
        """Where new tokens stand, for all layers of this shape.

        Args:
            batch: Sequences.
            positions: int64 [step], of the new tokens.
            slots: int64 [capacity]: 0, 1, ...
            turn: Of the new positions, where they are rotary.
            window: As `seen` has it.
        """
        index = positions[None, None, :, None].expand(
            batch, self.key_heads, positions.shape[0], self.head_width
        )
        return Place(seen(positions, slots, window), index, turn)

    def cached(self, x: torch.Tensor, place: Place, cache: Pair) -> tuple[torch.Tensor, Pair]:
        """New positions against a cache.

        Args:
            x: [batch, step, width].
            place: Of the new positions.
            cache: Keys and values, [batch, key heads, capacity, width of a head].

        Returns:
            As `x`, and the cache with the new positions in it.
        """
        q, k, v = self._projected(x, place.turn)
        keys = cache[0].scatter(2, place.slot, k)
        values = cache[1].scatter(2, place.slot, v)
        mixed = attend(q, keys, values, place.mask, scale=self.scale, cap=self.cap)
        return self.out(mixed), (keys, values)

    def _projected(
        self, x: torch.Tensor, turn: Rotation | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, the first two turned to their positions."""
        each = self.key_heads * self.head_width
        q, k, v = self.qkv(x).split([self.heads * self.head_width, each, each], -1)
        q, k = into_heads(q, self.heads), into_heads(k, self.key_heads)
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        return q, k, into_heads(v, self.key_heads)


class CrossAttention(torch.nn.Module):
    """From the decoder to what the encoder made of the input; without positions.

    Args:
        width: Channels of the decoder.
        heads: As `SelfAttention` has them, like the other options.
        memory_width: Channels of the encoder; as many as `width` where None.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        key_heads: int | None = None,
        head_width: int | None = None,
        memory_width: int | None = None,
        bias: bool = False,
        scale: float | None = None,
        cap: float | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.key_heads = heads, key_heads or heads
        self.head_width = head_width or width // heads
        self.scale, self.cap = scale, cap
        self.query = torch.nn.Linear(width, heads * self.head_width, bias=bias)
        self.memory = torch.nn.Linear(memory_width or width, 2 * self.key_heads * self.head_width, bias=bias)
        self.out = torch.nn.Linear(heads * self.head_width, width, bias=bias)

    def keys_values(self, encoded: torch.Tensor) -> Pair:
        """Keys and values of the encoder's output [batch, sequence, width], computed once per input."""
        keys, values = split(self.memory(encoded), 2, self.key_heads)
        return keys, values

    def forward(self, x: torch.Tensor, memory: Pair, mask: torch.Tensor | None = None) -> torch.Tensor:
        """[batch, step, width] in and out; `mask` hides padding of the input."""
        q = into_heads(self.query(x), self.heads)
        return self.out(attend(q, *memory, mask, scale=self.scale, cap=self.cap))  # type: ignore[no-any-return]
