"""Gated feed-forward network: down(silu(gate x) * up x).

N. Shazeer, GLU Variants Improve Transformer, arXiv:2002.05202, equation 6 (SwiGLU).
"""

from __future__ import annotations

import torch


class GatedMLP(torch.nn.Module):
    """`width` channels in and out, `hidden` between; gate and up are one matrix product."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = torch.nn.Linear(width, 2 * hidden, bias=False)
        self.down = torch.nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(torch.nn.functional.silu(gate) * up)  # type: ignore[no-any-return]
