r"""State-space models with one decay a head, h_t = exp(-r_t) h_{t-1} + x_t b_t^T and y_t = h_t c_t, as products.

With R_i = r_1 + ... + r_i within a chunk of q steps, T its last one and h the state that comes in:

    y_i   = sum_{j <= i} exp(-(R_i - R_j)) (c_i . b_j) x_j + exp(-R_i) h c_i
    h_out = sum_j exp(-(T - R_j)) x_j b_j^T + exp(-T) h

The states that come into the chunks are the same sum over the chunks before. Backward in time, from the last step
to the first, all of it is the same with the masks turned over: nothing is flipped and nothing loops. Every tensor
has at most four dimensions, sums along the sequence are products with a triangle of ones, and exponents are never
positive: r >= 0, so that R_i - R_j < 0 happens where the mask is 0 only, and is clipped.

Per token and head of p channels and n states it takes q (n + p) + 2 n p + (length / q^2) n p multiplications: linear
up to some tens of chunks. T. Dao and A. Gu, Transformers are SSMs, arXiv:2405.21060, section 6.
"""

from __future__ import annotations

import math

import torch

CHUNK = 64


def scan(
    x: torch.Tensor,
    rate: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    *,
    chunk: int = CHUNK,
    backward: bool = False,
    initial: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A whole sequence.

    Args:
        x: Inputs, the step size multiplied in, [batch, length, heads, channels].
        rate: r, at least 0, [batch, length, heads].
        b: The way in, [batch, length, groups, states]; one group serves all heads, or every head has its own.
        c: The way out, of b's shape.
        chunk: Steps of a chunk, q.
        backward: From the last step to the first.
        initial: The state before the first (backward: after the last) step, [batch, heads, channels, states].

    Returns:
        y, of x's shape, and the last state reached, of `initial`'s shape.
    """
    batch, length, heads, channels = x.shape
    count = (length + chunk - 1) // chunk
    x, b, c = (chunks(value, chunk) for value in (x, b, c))
    seen = triangle(chunk, backward=backward)
    sums = chunks(rate.unsqueeze(-1), chunk).squeeze(-1) @ seen.T  # R, [batch * count, heads, chunk]
    total = sums[..., :1] if backward else sums[..., -1:]

    decay = torch.exp(-torch.relu(sums.unsqueeze(-1) - sums.unsqueeze(-2)))
    y = (c @ b.transpose(-1, -2) * seen * decay) @ x

    ends = (x * torch.exp(sums - total).unsqueeze(-1)).transpose(-1, -2) @ b
    ends = ends.reshape(batch, count, heads, -1).transpose(1, 2)
    before, last = between(
        ends, total.reshape(batch, count, heads).transpose(1, 2), initial, backward=backward
    )
    before = before.transpose(1, 2).reshape(batch * count, heads, channels, -1)
    y = y + (c * torch.exp(-sums).unsqueeze(-1)) @ before.transpose(-1, -2)
    y = y.transpose(1, 2).reshape(batch, count * chunk, heads, channels)
    return y[:, :length], last.reshape(batch, heads, channels, -1)


def step(
    x: torch.Tensor, rate: torch.Tensor, b: torch.Tensor, c: torch.Tensor, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step: the arguments of `scan` without the length.

    Returns:
        y, [batch, heads, channels], and the next state [batch, heads, channels, states].
    """
    state = torch.exp(-rate)[..., None, None] * state + x.unsqueeze(-1) @ b.unsqueeze(-2)
    return (state @ c.unsqueeze(-1)).squeeze(-1), state


def softplus(x: torch.Tensor) -> torch.Tensor:
    """log(1 + exp(x)) of any size, without the branch for large x that exporters write out as a comparison."""
    return torch.relu(x) + torch.log(1 + torch.exp(-x.abs()))


def step_biases(count: int, smallest: float = 1e-3, largest: float = 1e-1) -> torch.Tensor:
    """What softplus turns into step sizes that are spread evenly, on a logarithmic scale, between two."""
    sizes = torch.logspace(math.log10(smallest), math.log10(largest), count)
    return sizes + torch.log(-torch.expm1(-sizes))


def chunks(value: torch.Tensor, chunk: int) -> torch.Tensor:
    """[batch, length, heads, n] as [batch * count, heads, chunk, n]; zeros fill the last chunk."""
    length, heads, width = value.shape[1:]
    padding = -length % chunk
    if not isinstance(padding, int) or padding:
        value = torch.nn.functional.pad(value, (0, 0, 0, 0, 0, padding))
    return value.reshape(-1, chunk, heads, width).transpose(1, 2)


def triangle(size: int, *, backward: bool, strict: bool = False) -> torch.Tensor:
    """1 where a step (a row) sees another (a column), the diagonal included unless `strict`; else 0."""
    place = torch.arange(size)
    late, early = (place, place[:, None]) if backward else (place[:, None], place)
    return (late > early if strict else late >= early).to(torch.float32)


def between(
    ends: torch.Tensor, total: torch.Tensor, initial: torch.Tensor | None, *, backward: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """States that come into the chunks, and the one that leaves the last of them.

    Args:
        ends: What every chunk leaves of its own inputs, [batch, heads, count, channels * states].
        total: Its T, [batch, heads, count].
        initial: See `scan`.
        backward: See `scan`.
    """
    count = total.shape[-1]
    sums = total @ triangle(count, backward=backward).T
    gone = sums - total  # up to the chunk, without it
    decay = torch.exp(-torch.relu(gone.unsqueeze(-1) - sums.unsqueeze(-2)))
    before = (decay * triangle(count, backward=backward, strict=True)) @ ends
    if initial is not None:
        before = before + torch.exp(-gone).unsqueeze(-1) * initial.flatten(2).unsqueeze(2)
    place = slice(0, 1) if backward else slice(count - 1, count)
    last = torch.exp(-total[..., place]).unsqueeze(-1) * before[:, :, place] + ends[:, :, place]
    return before, last
