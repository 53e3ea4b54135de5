r"""What is added to attention's scores: 0 where a key is seen, `HIDDEN_SCORE` where it is not.

    causal         j <= i                               every position sees those before it, and itself
    seen           slot <= position, and within a window: a causal mask over a cache's slots
    prefix         j <= i or j < p                      a prefix of p positions sees itself in both directions
    window         |i - j| < w                          (or i - w < j <= i)
    padding        only real keys, the same for all queries
    same           only keys of the query's own segment

Masks broadcast against scores [batch, heads, queries, keys], and are summed to be combined.
"""

from __future__ import annotations

import torch

HIDDEN_SCORE = -70.0
"""Added to the scores of keys that are not seen. exp(-70) is nothing beside a float32 sum, and still a normal
number: ONNX Runtime bounds the argument of exp at -88.4, so that -1e9 or -inf gives subnormal weights, with which a
softmax over a prompt of 1024 tokens took about eight times as long."""


def hide(hidden: torch.Tensor) -> torch.Tensor:
    """From booleans, true where a key is not seen, to what is added to scores; the same shape."""
    return torch.where(hidden, HIDDEN_SCORE, 0.0)


def causal(length: int) -> torch.Tensor:
    """[length, length]."""
    return torch.full((length, length), HIDDEN_SCORE).triu(1)


def seen(positions: torch.Tensor, slots: torch.Tensor, window: int | None = None) -> torch.Tensor:
    """Causal, for queries at `positions` over the slots of a cache.

    Args:
        positions: int64 [step].
        slots: int64 [capacity], their own positions: 0, 1, ...
        window: How many positions a query sees, itself included; all before it where None.

    Returns:
        [step, capacity].
    """
    hidden = slots[None, :] > positions[:, None]
    if window is not None:
        hidden = hidden | (slots[None, :] <= positions[:, None] - window)
    return hide(hidden)


def prefix(length: int, first: int) -> torch.Tensor:
    """[length, length]: the `first` positions see one another, the others what is before them."""
    position = torch.arange(length)
    return hide((position[None, :] > position[:, None]) & (position[None, :] >= first))


def window(length: int, size: int) -> torch.Tensor:
    """[length, length]: in both directions, keys less than `size` positions away."""
    position = torch.arange(length)
    return hide((position[None, :] - position[:, None]).abs() >= size)


def padding(real: torch.Tensor) -> torch.Tensor:
    """[batch, 1, 1, sequence] from `real` [batch, sequence], integers: 1 for a token, 0 for padding."""
    return hide(real[:, None, None, :] == 0)


def same(segments: torch.Tensor) -> torch.Tensor:
    """[batch, 1, sequence, sequence] from the number of every position's segment, int64 [batch, sequence]."""
    return hide(segments[:, None, :, None] != segments[:, None, None, :])
