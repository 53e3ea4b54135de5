r"""Attention over several heads: softmax(q k^T / sqrt(w) + mask) v, w the width of a head.

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

import torch

from edgepack.exporters.architectures.blocks._rotary import Rotation, rotate

Pair = tuple[torch.Tensor, torch.Tensor]


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Weighted sums of `v`.

    Args:
        q: [batch, heads, step, width].
        k: [batch, heads, slots, width].
        v: As `k`.
        mask: Added to the scores, [step, slots].

    Returns:
        [batch, step, heads * width].
    """
    # The query is scaled, not the product: it is the smallest of the three.
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def split(x: torch.Tensor, count: int, heads: int) -> tuple[torch.Tensor, ...]:
    """`count` tensors [batch, heads, step, width] out of one projection [batch, step, count * heads * width]."""
    batch, step, _ = x.shape
    return tuple(part.reshape(batch, step, heads, -1).transpose(1, 2) for part in x.chunk(count, -1))


class SelfAttention(torch.nn.Module):
    """With rotary positions; `width` channels in `heads` heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = torch.nn.Linear(width, 3 * width, bias=False)
        self.out = torch.nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor, turn: Rotation, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The whole sequence at once, without a cache; [batch, sequence, width] in and out."""
        q, k, v = split(self.qkv(x), 3, self.heads)
        return self.out(attend(rotate(q, turn), rotate(k, turn), v, mask))  # type: ignore[no-any-return]

    def cached(
        self, x: torch.Tensor, turn: Rotation, mask: torch.Tensor, index: torch.Tensor, cache: Pair
    ) -> tuple[torch.Tensor, Pair]:
        """New positions against a cache.

        Args:
            x: [batch, step, width].
            turn: Of the new positions.
            mask: [step, capacity], added to the scores.
            index: int64 [batch, heads, step, width of a head]: the slot of every new position.
            cache: Keys and values, [batch, heads, capacity, width of a head].

        Returns:
            As `x`, and the cache with the new positions in it.
        """
        q, k, v = split(self.qkv(x), 3, self.heads)
        keys = cache[0].scatter(2, index, rotate(k, turn))
        values = cache[1].scatter(2, index, v)
        return self.out(attend(rotate(q, turn), keys, values, mask)), (keys, values)


class CrossAttention(torch.nn.Module):
    """From the decoder to what the encoder made of the input; without positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = torch.nn.Linear(width, width, bias=False)
        self.memory = torch.nn.Linear(width, 2 * width, bias=False)
        self.out = torch.nn.Linear(width, width, bias=False)

    def keys_values(self, encoded: torch.Tensor) -> Pair:
        """Keys and values of the encoder's output [batch, sequence, width], computed once per input."""
        keys, values = split(self.memory(encoded), 2, self.heads)
        return keys, values

    def forward(self, x: torch.Tensor, memory: Pair) -> torch.Tensor:
        """[batch, step, width] in and out."""
        (q,) = split(self.query(x), 1, self.heads)
        return self.out(attend(q, *memory))  # type: ignore[no-any-return]
