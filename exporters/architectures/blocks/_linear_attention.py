r"""Gated linear attention, H_t = diag(exp(-r_t)) H_{t-1} + k_t v_t^T and y_t = q_t H_t, as products.

A head's decay is a vector, one number for every channel of its keys. With R_i = r_1 + ... + r_i within a chunk, M the
sum at its middle, T its last one and H the state that comes in:

    y_i   = sum_{j <= i} ((q_i exp(M - R_i)) . (k_j exp(R_j - M))) v_j + (q_i exp(-R_i)) H
    H_out = sum_j (k_j exp(R_j - T)) v_j^T + exp(-T) H

Taking M out halves the exponents, which are positive on one side: finite in float32 as long as the decays of half a
chunk add up to less than 88. Backward in time the masks turn over, as in `_ssm.py`. S. Yang et al., Gated Linear
Attention Transformers with Hardware-Efficient Training, arXiv:2312.06635, section 4.
"""

from __future__ import annotations

import torch

from edgepack.exporters.architectures.blocks._ssm import between, chunks, triangle

CHUNK = 16


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    rate: torch.Tensor,
    *,
    chunk: int = CHUNK,
    backward: bool = False,
    initial: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A whole sequence.

    Args:
        q: Queries, scaled, [batch, length, heads, channels].
        k: Keys, as `q`.
        v: Values, [batch, length, heads, values].
        rate: r, at least 0, as `q`.
        chunk: Steps of a chunk.
        backward: From the last step to the first.
        initial: The state before the first (backward: after the last) step, [batch, heads, channels, values].

    Returns:
        y, of v's shape, and the last state reached, of `initial`'s shape.
    """
    batch, length, heads, values = v.shape
    channels = q.shape[-1]
    q, k, v, rate = (chunks(value, chunk) for value in (q, k, v, rate))
    seen = triangle(chunk, backward=backward)
    # R, [batch * count, heads, chunk, channels]; a constant stands on the right, where runtimes round it to int8.
    sums = (rate.transpose(-1, -2) @ seen.T).transpose(-1, -2)
    total = sums[:, :, :1] if backward else sums[:, :, -1:]
    middle = sums[:, :, chunk // 2 : chunk // 2 + 1]

    scores = (q * torch.exp(middle - sums)) @ (k * torch.exp(sums - middle)).transpose(-1, -2)
    y = (scores * seen) @ v

    ends = (k * torch.exp(sums - total)).transpose(-1, -2) @ v
    count = (length + chunk - 1) // chunk
    ends = ends.reshape(batch, count, heads * channels, values).transpose(1, 2)
    before, last = between(
        ends,
        total.reshape(batch, count, heads * channels).transpose(1, 2),
        None if initial is None else initial.flatten(1, 2),
        backward=backward,
    )
    before = before.transpose(1, 2).reshape(batch * count, heads, channels, values)
    y = y + (q * torch.exp(-sums)) @ before
    y = y.transpose(1, 2).reshape(batch, count * chunk, heads, values)
    return y[:, :length], last.reshape(batch, heads, channels, values)


def step(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rate: torch.Tensor, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step: the arguments of `attend` without the length.

    Returns:
        y, [batch, heads, values], and the next state [batch, heads, channels, values].
    """
    state = torch.exp(-rate).unsqueeze(-1) * state + k.unsqueeze(-1) @ v.unsqueeze(-2)
    return (q.unsqueeze(-2) @ state).squeeze(-2), state
