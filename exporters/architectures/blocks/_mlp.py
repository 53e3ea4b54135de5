"""Feed-forward networks: down(f(up x)), and gated down(f(gate x) * up x).

N. Shazeer, GLU Variants Improve Transformer, arXiv:2002.05202, equations 5 and 6: f is GELU (GEGLU) or SiLU (SwiGLU).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch.nn.functional import gelu, silu

Activation: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


def gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    """GELU by its approximation with tanh (D. Hendrycks and K. Gimpel, arXiv:1606.08415, section 2)."""
    return gelu(x, approximate="tanh")


class MLP(torch.nn.Module):
    """`width` channels in and out, `hidden` between."""

    def __init__(self, width: int, hidden: int, activation: Activation = gelu, *, bias: bool = True) -> None:
        super().__init__()
        self.up = torch.nn.Linear(width, hidden, bias=bias)
        self.down = torch.nn.Linear(hidden, width, bias=bias)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return self.down(self.activation(self.up(x)))  # type: ignore[no-any-return]


class GatedMLP(torch.nn.Module):
    """`width` channels in and out, `hidden` between; gate and up are one matrix product.

    Args:
        width: Channels.
        hidden: Channels of the gate, and of what it is multiplied with.
        activation: Of the gate.
        bias: One on both products.
        down_bias: One on the last product only, where it differs.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        activation: Activation = silu,
        *,
        bias: bool = False,
        down_bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.gate_up = torch.nn.Linear(width, 2 * hidden, bias=bias)
        self.down = torch.nn.Linear(hidden, width, bias=bias if down_bias is None else down_bias)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(self.activation(gate) * up)  # type: ignore[no-any-return]
