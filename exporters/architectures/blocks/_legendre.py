r"""Legendre memory: the last `window` inputs of one channel as coefficients of the first `order` Legendre polynomials.

    m_t = A m_{t-1} + B u_t,   A = exp(F),   B = F^{-1} (exp(F) - 1) G,   F_ij = (2 i + 1) / window * s_ij,
    G_i = (2 i + 1) (-1)^i / window,   s_ij = -1 for i < j, else (-1)^{i - j + 1}

It does not change in time, so that a whole sequence is one convolution with the impulse response A^k B. Voelker,
Kajic and Eliasmith, Legendre Memory Units, NeurIPS 2019, section 2; in parallel: arXiv:2102.11417, equation 26.
"""

from __future__ import annotations

import torch

from edgepack.exporters.scans.convolution import impulse_response


class LegendreMemory(torch.nn.Module):
    """One channel in, `order` coefficients out; nothing of it is learned.

    Args:
        order: Polynomials.
        window: Steps that are remembered, and the longest sequence that is computed at once.
    """

    def __init__(self, order: int, window: int) -> None:
        super().__init__()
        self.window = window
        with torch.device("cpu"):
            a, b = system(order, window)
            response = impulse_response(a, b, torch.eye(order), window)
        where = torch.get_default_device()
        # The present stands last, as a convolution reads.
        self.register_buffer("response", response.flip(-1)[:, None, None].to(where))
        self.register_buffer("keep", a.float()[:, :, None, None].to(where))
        self.register_buffer("write", b.float()[:, None, None].to(where))

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        """[batch, 1, 1, length] to [batch, order, 1, length], length up to `window`."""
        assert isinstance(self.response, torch.Tensor)  # noqa: S101 - tells type checkers
        return torch.nn.functional.conv2d(torch.nn.functional.pad(u, (self.window - 1, 0)), self.response)

    def step(self, u: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """The next coefficients [batch, order, 1, 1] after one input [batch, 1, 1, 1]."""
        assert isinstance(self.keep, torch.Tensor)  # noqa: S101 - tells type checkers
        assert isinstance(self.write, torch.Tensor)  # noqa: S101
        return torch.nn.functional.conv2d(state, self.keep) + u * self.write


def system(order: int, window: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A [order, order] and B [order] in float64, for a step of one input that is held until the next."""
    i = torch.arange(order, dtype=torch.float64)
    sign = torch.where(i[:, None] < i, -1.0, (-1.0) ** (i[:, None] - i + 1))
    both = torch.zeros(order + 1, order + 1, dtype=torch.float64)  # exp of [[F, G], [0, 0]] has A and B
    both[:order, :order] = sign * ((2 * i + 1) / window)[:, None]
    both[:order, order] = (2 * i + 1) / window * (-1.0) ** i
    both = torch.linalg.matrix_exp(both)
    return both[:order, :order], both[:order, order]
