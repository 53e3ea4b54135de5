r"""Attention whose scores know how far apart two positions are.

For the last C of K positions:

    score(i, j) = ((q_i + u) . k_j + (q_i + v) . W r(distance)) / sqrt(w),    distance = K - C + i - j

r is the sinusoid of the distance, u and v are learned, one vector a head (Z. Dai et al., Transformer-XL,
arXiv:1901.02860, section 3.3). The second term is computed for every distance from K - 1 down to 1 - C at once, a
product of [C, w] with [w, C + K - 1]; row i of it is wanted from column C - 1 - i on. Padding each row by one and
reading the rows again with one column less moves every row by one more than the one above it.
"""

from __future__ import annotations

import math

import torch

from edgepack.exporters.architectures.blocks._attention import Pair, split
from edgepack.exporters.architectures.blocks._sinusoid import sinusoid


def distances(queries: int, keys: int, width: int) -> torch.Tensor:
    """Sinusoids of all distances between the last `queries` of `keys` positions, [queries + keys - 1, width]."""
    return sinusoid(torch.arange(keys - 1, -queries, -1), width)


def shifted(scores: torch.Tensor, keys: int) -> torch.Tensor:
    """Scores by distance [batch, heads, C, C + keys - 1] to scores by key [batch, heads, C, keys]."""
    batch, heads, queries, count = scores.shape
    padded = torch.nn.functional.pad(scores, (1, 0)).reshape(batch, heads, count + 1, queries)
    return padded[:, :, 1:].reshape(batch, heads, queries, count)[..., :keys]


class RelativeAttention(torch.nn.Module):
    """`width` channels in `heads` heads, with biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = torch.nn.Linear(width, 3 * width)
        self.out = torch.nn.Linear(width, width)
        self.position = torch.nn.Linear(width, width, bias=False)
        self.content_bias = torch.nn.Parameter(torch.zeros(heads, width // heads))
        self.position_bias = torch.nn.Parameter(torch.zeros(heads, width // heads))

    def far(self, table: torch.Tensor) -> torch.Tensor:
        """What queries are multiplied with to get scores by distance: [heads, width of a head, distances].

        A constant where lengths are fixed, so that a streaming step need not compute it.
        """
        return self.position(table).unflatten(-1, (self.heads, -1)).permute(1, 2, 0)  # type: ignore[no-any-return]

    def forward(
        self, x: torch.Tensor, far: torch.Tensor, mask: torch.Tensor | None = None, past: Pair | None = None
    ) -> tuple[torch.Tensor, Pair]:
        """Attention of new positions to themselves, and to what came before.

        Args:
            x: [batch, step, width].
            far: See there, for as many keys as there are.
            mask: Added to the scores; broadcast to [batch, heads, step, keys].
            past: Keys and values of earlier positions, [batch, heads, past, width of a head].

        Returns:
            As `x`, and keys and values with the new positions at their end.
        """
        q, keys, values = split(self.qkv(x), 3, self.heads)
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        scale = 1 / math.sqrt(q.shape[-1])
        near = ((q + self.content_bias[:, None]) * scale) @ keys.transpose(-1, -2)
        scores = near + shifted(((q + self.position_bias[:, None]) * scale) @ far, keys.shape[2])
        weights = (scores if mask is None else scores + mask).softmax(-1)
        return self.out((weights @ values).transpose(1, 2).flatten(2)), (keys, values)
