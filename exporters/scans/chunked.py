"""h_t = exp(l_t) h_{t-1} + x_t B_t^T,  y_t = h_t C_t, with one decay a head: products of matrices over chunks.

With S_ij = l_{j+1} + ... + l_i, each chunk of q steps computes

    inside:   Y = (exp(S) o (C B^T)) X, lower triangle
    its end:  h = sum_j exp(S_qj) x_j B_j^T
    between:  the same sum over the chunks' ends, S being sums of whole chunks
    from h_0: y_i += exp(S_i0) h C_i

The length is padded with l = 0 and x = 0, which leave the state alone, to whole chunks. All of it is a fixed
number of nodes without a loop, faster than a Scan by about two on a CPU.
Source: Dao and Gu, "Transformers are SSMs" (Mamba-2), arXiv:2405.21060, section 6 and listing 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CHUNK = 64


def chunked_scan(
    x: torch.Tensor,
    log_decay: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    initial: torch.Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and last state.

    Args:
        x: Inputs, step size multiplied in, [batch, length, heads, channels], length at least 1.
        log_decay: l, at most 0, [batch, length, heads].
        b: B, [batch, length, groups, state]; groups divides heads, neighbouring heads share a group.
        c: C, of b's shape.
        initial: h_0, [batch, heads, channels, state]; zeros when None.
        chunk: Steps a chunk, q.

    Returns:
        y, [batch, length, heads, channels], and the last state [batch, heads, channels, state].
    """
    import torch

    batch, length, heads, channels = x.shape
    b, c = _per_head(b, heads), _per_head(c, heads)
    count = (length + chunk - 1) // chunk
    padding = count * chunk - length

    def split(value: torch.Tensor) -> torch.Tensor:
        """[batch, heads, count, chunk, ...]."""
        value = torch.nn.functional.pad(value, (0, 0, 0, 0, 0, padding))
        return value.reshape(batch, count, chunk, heads, value.shape[-1]).permute(0, 3, 1, 2, 4)

    x, b, c = split(x), split(b), split(c)
    decay = split(log_decay.unsqueeze(-1)).squeeze(-1)
    sums = decay.cumsum(-1)

    position = torch.arange(chunk, device=x.device)
    lower = position.unsqueeze(1) >= position
    # Masked before exp: above the diagonal the differences are positive and may overflow.
    inside = torch.exp(torch.where(lower, sums.unsqueeze(-1) - sums.unsqueeze(-2), -torch.inf))
    y = (inside * (c @ b.mT)) @ x

    to_end = torch.exp(sums[..., -1:] - sums)
    ends = (x * to_end.unsqueeze(-1)).mT @ b
    state = x.new_zeros(batch, heads, channels, b.shape[-1]) if initial is None else initial
    ends = torch.cat([state.unsqueeze(2), ends], 2)
    between = _sums_between(torch.nn.functional.pad(sums[..., -1], (1, 0)))
    states = (torch.exp(between) @ ends.flatten(-2)).reshape(ends.shape)

    y = y + (c * torch.exp(sums).unsqueeze(-1)) @ states[:, :, :-1].mT
    y = y.permute(0, 2, 3, 1, 4).reshape(batch, count * chunk, heads, channels)
    return y[:, :length], states[:, :, -1]


def chunked_step(
    x: torch.Tensor, log_decay: torch.Tensor, b: torch.Tensor, c: torch.Tensor, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step for streaming: the arguments of `chunked_scan` without the length.

    Returns:
        y, [batch, heads, channels], and the next state [batch, heads, channels, state].
    """
    import torch

    heads = x.shape[1]
    b, c = _per_head(b, heads), _per_head(c, heads)
    state = torch.exp(log_decay)[..., None, None] * state + x.unsqueeze(-1) * b.unsqueeze(-2)
    return (state @ c.unsqueeze(-1)).squeeze(-1), state


def _per_head(value: torch.Tensor, heads: int) -> torch.Tensor:
    groups = value.shape[-2]
    return value if groups == heads else value.repeat_interleave(heads // groups, -2)


def _sums_between(totals: torch.Tensor) -> torch.Tensor:
    """Sums [..., i, j] of totals [..., n] over j < k <= i; -inf above the diagonal.

    Added up along each column, not as differences of one running sum, which would cancel in long sequences.
    """
    import torch

    place = torch.arange(totals.shape[-1], device=totals.device)
    down, right = place.unsqueeze(1), place.unsqueeze(0)
    sums = torch.where(down > right, totals.unsqueeze(-1), 0.0).cumsum(-2)
    return torch.where(down >= right, sums, -torch.inf)
