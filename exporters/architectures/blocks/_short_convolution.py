r"""Depthwise convolution along a sequence, over the present and its neighbours or over the past only.

    y_t = sum_k w_k * x_{t - k + s} + bias,   s = 0 (causal) or (taps - 1) / 2 (centred), k = 0 ... taps - 1

Causal ones have a step that keeps the last taps - 1 inputs as its state.
"""

from __future__ import annotations

import torch


class ShortConvolution(torch.nn.Module):
    """`width` channels, each with its own `taps` weights."""

    def __init__(self, width: int, taps: int, *, causal: bool = True, bias: bool = True) -> None:
        super().__init__()
        self.taps = taps
        self.before = taps - 1 if causal else taps // 2
        self.weight = torch.nn.Parameter(torch.empty(width, 1, 1, taps))
        self.bias = torch.nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, length, width] in and out; a 4-D convolution, which is what accelerators have."""
        image = torch.nn.functional.pad(
            x.transpose(1, 2).unsqueeze(2), (self.before, self.taps - 1 - self.before)
        )
        return (
            torch.nn.functional.conv2d(image, self.weight, self.bias, groups=x.shape[-1])
            .squeeze(2)
            .transpose(1, 2)
        )

    def history(self, x: torch.Tensor) -> torch.Tensor:
        """What a step after the sequence `x` needs: [batch, taps - 1, width], zeros before the first input."""
        return torch.nn.functional.pad(x, (0, 0, self.taps - 1, 0))[:, -(self.taps - 1) :]

    def step(self, x: torch.Tensor, history: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One input [batch, width] after `history` [batch, taps - 1, width]; its output, and the next history."""
        window = torch.cat([history, x.unsqueeze(1)], 1)
        y = (window * self.weight.flatten(1).T).sum(1)
        return y if self.bias is None else y + self.bias, window[:, 1:]
