"""Root mean square normalization: x / sqrt(mean(x^2) + eps) * gain.

B. Zhang and R. Sennrich, Root Mean Square Layer Normalization, arXiv:1910.07467, equation 4.
"""

from __future__ import annotations

import torch


class RMSNorm(torch.nn.Module):
    """Over the last dimension, of size `width`."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.gain
