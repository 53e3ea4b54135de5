r"""Attention with linear biases: scores lose a slope times the distance, in place of position embeddings.

    score(i, j) - m_h |i - j|,   m_h = 2^(-8 h / H),   h = 1 .. H

for H heads, H a power of two; otherwise the slopes of the power of two below, followed by every other one of the
slopes of the power above (O. Press et al., Train Short, Test Long, arXiv:2108.12409, section 3 and its code's rule).
"""

from __future__ import annotations

import torch


def slopes(heads: int) -> list[float]:
    """One slope a head."""
    below = 1 << (heads.bit_length() - 1)
    first = [2 ** (-8 * (h + 1) / below) for h in range(below)]
    return first + [2 ** (-4 * (h + 1) / below) for h in range(0, 2 * (heads - below), 2)]


def alibi(queries: torch.Tensor, keys: torch.Tensor, heads: int) -> torch.Tensor:
    """What is added to scores, [heads, queries, keys]; positions are int64 vectors.

    In a causal model only keys before a query are seen, where |i - j| is i - j.
    """
    distance = (queries[:, None] - keys[None, :]).abs().to(torch.float32)
    return distance * -torch.tensor(slopes(heads))[:, None, None]
