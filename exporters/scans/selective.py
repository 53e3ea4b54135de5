"""h_t = exp(d_t A) * h_{t-1} + d_t x_t B_t^T,  y_t = h_t C_t + D * x_t: the selective scan of Mamba.

Channels, inputs and steps sizes vary in time and the decay element by element, so that no convolution or
product of matrices computes it: an exported graph holds one Scan, and the states of the whole sequence are
never in memory at once. Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State
Spaces", arXiv:2312.00752, equations 1 to 4 with the simplified discretization of B of their code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def selective_scan(
    x: torch.Tensor,
    delta: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    d: torch.Tensor | None = None,
    initial: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and last state.

    Args:
        x: Inputs, [batch, length, channels], length at least 1.
        delta: Step sizes, positive, of x's shape.
        a: A, negative, [channels, state].
        b: B, [batch, length, state].
        c: C, [batch, length, state].
        d: D, [channels]; None leaves the direct path out.
        initial: h_0, [batch, channels, state]; zeros when None.

    Returns:
        y, [batch, length, channels], and the last state [batch, channels, state].
    """
    import torch

    state = x.new_zeros(x.shape[0], *a.shape) if initial is None else initial
    if torch.compiler.is_exporting():
        from torch._higher_order_ops.scan import scan

        def body(h: torch.Tensor, now: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
            y, h = selective_step(now[0], now[1], a, now[2], now[3], None, h)
            return h, y

        lines = tuple(value.movedim(1, 0) for value in (x, delta, b, c))
        last, outputs = scan(body, state, lines)
        y = outputs.movedim(0, 1)
    else:
        y = torch.empty_like(x)
        for t in range(x.shape[1]):
            y[:, t], state = selective_step(x[:, t], delta[:, t], a, b[:, t], c[:, t], None, state)
        last = state
    return (y if d is None else y + d * x), last


def selective_step(
    x: torch.Tensor,
    delta: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    d: torch.Tensor | None,
    state: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step for streaming: the arguments of `selective_scan` without the length.

    Returns:
        y, [batch, channels], and the next state [batch, channels, state].
    """
    import torch

    decay = torch.exp(delta.unsqueeze(-1) * a)
    state = decay * state + (delta * x).unsqueeze(-1) * b.unsqueeze(-2)
    y = (state @ c.unsqueeze(-1)).squeeze(-1)
    return (y if d is None else y + d * x), state
