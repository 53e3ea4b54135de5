r"""Rotary position embedding.

Channels i and i + w/2 of a head of width w are one complex number, turned by position times frequency:

    (a, b) -> (a cos t - b sin t, a sin t + b cos t),   t = position * base^(-2 i / w),   i < w/2

so that the product of a query and a key depends on the distance of their positions only
(J. Su et al., RoFormer, arXiv:2104.09864, section 3.4; halves instead of neighbours, as in GPT-NeoX).
"""

from __future__ import annotations

import torch

BASE = 10000.0
Rotation = tuple[torch.Tensor, torch.Tensor]


def rotation(positions: torch.Tensor, width: int, base: float = BASE) -> Rotation:
    """Cosine and sine of every angle.

    Args:
        positions: int64 [step].
        width: Channels of a head, even.
        base: Of the frequencies.

    Returns:
        Two float32 [step, width / 2].
    """
    exponents = torch.arange(0, width, 2, dtype=torch.float32) / width
    angles = positions.to(torch.float32)[:, None] * (base**-exponents)[None, :]
    return angles.cos(), angles.sin()


def rotate(x: torch.Tensor, by: Rotation) -> torch.Tensor:
    """`x` [batch, heads, step, width] turned to its positions."""
    cos, sin = by
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
