"""Root mean square normalization: x / sqrt(mean(x^2) + eps) * gain.

B. Zhang and R. Sennrich, Root Mean Square Layer Normalization, arXiv:1910.07467, equation 4. Layer normalization is
torch.nn.LayerNorm.
"""

from __future__ import annotations

import torch


class RMSNorm(torch.nn.Module):
    """Over the last dimension, of size `width`.

    Args:
        width: Channels.
        eps: Added to the mean of squares.
        around_one: The gain is stored as its distance from 1, as the Gemma models have it.
    """

    def __init__(self, width: int, eps: float = 1e-5, *, around_one: bool = False) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.zeros(width) if around_one else torch.ones(width))
        self.eps = eps
        self.around_one = around_one

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        gain = 1.0 + self.gain if self.around_one else self.gain
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * gain
