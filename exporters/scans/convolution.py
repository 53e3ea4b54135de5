"""y_t = sum_k K_k x_{t-k} with K_k = C A^k B: what a linear system that does not change in time computes.

The kernel is computed once, in float64, and becomes a weight; the sequence goes through one depthwise Conv,
padded on the left only. LMU: Voelker, Kajic and Eliasmith, "Legendre Memory Units", NeurIPS 2019, in the
parallel form of Chilkuri and Eliasmith, arXiv:2102.11417; S4D: Gu et al., arXiv:2206.11893, section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def causal_convolution(kernel: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Every channel with its own kernel.

    Args:
        kernel: K, [channels, taps], K_0 the weight of the present.
        x: [batch, length, channels], length at least 1; may be shorter than the kernel.

    Returns:
        y, of x's shape. It is exact for every length when the kernel is as long as the longest one.
    """
    import torch

    channels, taps = kernel.shape
    padded = torch.nn.functional.pad(x.mT, (taps - 1, 0))
    return torch.nn.functional.conv1d(padded, kernel.flip(-1).unsqueeze(1), groups=channels).mT


def convolution_step(
    kernel: torch.Tensor, x: torch.Tensor, history: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step for streaming.

    Args:
        kernel: As above.
        x: [batch, channels].
        history: The last taps - 1 inputs, oldest first, [batch, taps - 1, channels]; zeros to begin with.

    Returns:
        y, [batch, channels], and the next history.
    """
    import torch

    window = torch.cat([history, x.unsqueeze(1)], 1)
    return (window * kernel.flip(-1).mT).sum(1), window[:, 1:]


def impulse_response(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, taps: int) -> torch.Tensor:
    """The kernel K_k = C A^k B of h_t = A h_{t-1} + B x_t, y_t = C h_t.

    Args:
        a: A, [state, state], or its diagonal [channels, state].
        b: B, [state], or [channels, state] with a diagonal.
        c: C, [channels, state].
        taps: Number of k, from 0: the longest sequence.

    Returns:
        K, [channels, taps], in c's dtype, computed in float64.
    """
    import torch

    diagonal = a.shape[0] != a.shape[1] or b.ndim > 1
    matrix, state, read = a.double(), b.double(), c.double()
    columns = []
    for _ in range(taps):
        columns.append((read * state).sum(-1))
        state = matrix * state if diagonal else matrix @ state
    return torch.stack(columns, -1).to(c.dtype)


def invariant_step(a: torch.Tensor, b: torch.Tensor, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """The next state A h + B x of a system with a full matrix: cheaper than a long history.

    Args:
        a: A, [state, state].
        b: B, [state].
        x: [batch].
        state: [batch, state].
    """
    return state @ a.mT + x.unsqueeze(-1) * b
