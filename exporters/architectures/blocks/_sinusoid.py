r"""Sinusoidal positions: channels 2 i and 2 i + 1 of position p are sin(p f_i) and cos(p f_i), f_i = 10000^(-2 i / d).

A. Vaswani et al., Attention Is All You Need, arXiv:1706.03762, section 3.5.
"""

from __future__ import annotations

import torch

BASE = 10000.0


def sinusoid(positions: torch.Tensor, width: int) -> torch.Tensor:
    """The positions' vectors, float32 [positions, width].

    Args:
        positions: [positions], of either sign.
        width: Channels, even.
    """
    exponents = torch.arange(0, width, 2, dtype=torch.float32) / width
    angles = positions.to(torch.float32)[:, None] * (BASE**-exponents)[None, :]
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
