r"""Neurons that leak, integrate and fire: a sequence of numbers becomes one of zeros and ones.

    v = v + (x - v) / 2,   s = 1 where v >= threshold, else 0,   v = v (1 - s)

Hard reset to 0, time constant 2, one potential v for every channel. What is reset depends on what was fired, so that
a sequence is walked step by step: no product or convolution computes it at once. W. Gerstner et al., Neuronal
Dynamics, 2014, section 1.3, in discrete time.
"""

from __future__ import annotations

import torch


class Neurons(torch.nn.Module):
    """One for every channel.

    Args:
        channels: Of [batch, channels, 1, length].
        threshold: At which they fire.
    """

    def __init__(self, channels: int, threshold: float = 1.0) -> None:
        super().__init__()
        self.channels, self.threshold = channels, threshold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """All steps of [batch, channels, 1, length], from potentials of 0."""
        v, spikes = torch.zeros_like(x[..., :1]), []
        for now in x.split(1, -1):  # type: ignore[no-untyped-call]
            fired, v = self.step(now, v)
            spikes.append(fired)
        return torch.cat(spikes, -1)

    def step(self, x: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One step [batch, channels, 1, 1]: spikes, and the potentials after them."""
        v = (v + x) * 0.5
        fired = (v >= self.threshold).to(x.dtype)
        return fired, v * (1 - fired)
