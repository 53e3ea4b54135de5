r"""Mamba's mixer: a state-space model whose step size and ways in and out depend on the input, every channel its own.

    h_t = exp(-d_t R) h_{t-1} + d_t x_t b_t^T,   y_t = h_t c_t + D x_t,   out = W (y_t silu(z_t))

with R > 0 one number for every channel and state. A. Gu and T. Dao, Mamba, arXiv:2312.00752, section 3. The whole
sequence is computed without a loop (`_scan.py`); y, before its gate, is what a Gated Memory Unit reads.
"""

from __future__ import annotations

import torch

from edgepack.exporters.architectures.blocks import _ssm as ssm
from edgepack.exporters.architectures.blocks._scan import scan
from edgepack.exporters.architectures.blocks._short_convolution import ShortConvolution

States = tuple[torch.Tensor, torch.Tensor]


class SelectiveMixer(torch.nn.Module):
    """`width` channels in and out, `expand` times as many within, each with `states`.

    Args:
        width: Channels.
        states: Of every inner channel.
        limit: The longest sequence.
        expand: Inner channels for one channel.
        taps: Of the convolution in front.
    """

    def __init__(self, width: int, states: int, limit: int, *, expand: int = 2, taps: int = 4) -> None:
        super().__init__()
        inner = expand * width
        self.states, self.limit, self.rank = states, limit, -(-width // 16)
        self.project = torch.nn.Linear(width, 2 * inner, bias=False)
        self.near = ShortConvolution(inner, taps)
        self.ways = torch.nn.Linear(inner, self.rank + 2 * states, bias=False)
        self.size = torch.nn.Linear(self.rank, inner)
        self.size.bias.data = ssm.step_biases(inner)
        self.log_rate = torch.nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.skip = torch.nn.Parameter(torch.ones(inner))
        self.out = torch.nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, States]:
        """A whole sequence [batch, length, width]: the answer, y, and the states after it."""
        raw, gate = self.project(x).chunk(2, -1)
        x = torch.nn.functional.silu(self.near(raw))
        decay, update, c = self._elements(x)
        batch, length, inner, _ = update.shape
        states = scan(decay.flatten(2), update.flatten(2), self.limit).reshape(batch, length, inner, -1)
        y = (states @ c).squeeze(-1) + x * self.skip
        return self._gated(y, gate), y, (self.near.history(raw), states[:, -1])

    def step(self, x: torch.Tensor, states: States) -> tuple[torch.Tensor, torch.Tensor, States]:
        """One step [batch, width]."""
        raw, gate = self.project(x).chunk(2, -1)
        x, history = self.near.step(raw, states[0])
        x = torch.nn.functional.silu(x)
        decay, update, c = self._elements(x)
        state = decay * states[1] + update
        y = (state @ c).squeeze(-1) + x * self.skip
        return self._gated(y, gate), y, (history, state)

    def _elements(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decay and update [..., inner, states], and the way out [..., states, 1]."""
        ways = self.ways(x)
        rank, states = self.rank, self.states
        size = ssm.softplus(self.size(ways[..., :rank])).unsqueeze(-1)
        b, c = ways[..., rank : rank + states].unsqueeze(-2), ways[..., rank + states :].unsqueeze(-1)
        return torch.exp(-(size * self.log_rate.exp())), size * x.unsqueeze(-1) * b, c

    def _gated(self, y: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        return self.out(y * torch.nn.functional.silu(gate))  # type: ignore[no-any-return]
