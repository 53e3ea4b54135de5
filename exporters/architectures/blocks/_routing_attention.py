r"""Bi-level routing attention: every region of an image attends to the k regions that suit it best, and no other.

L. Zhu et al., BiFormer: Vision Transformer with Bi-Level Routing Attention, arXiv:2303.08810, section 3.2. With the
image cut into S x S regions of t tokens, Q_r and K_r the means of a region's queries and keys, and d channels,

    routes   I = the k largest of a row of Q_r K_r^T
    gather   K_g = K[I], V_g = V[I]                         [regions, k t, d]
    attend   softmax(Q K_g^T / sqrt(d)) V_g + local(V)

where local is a depthwise convolution. Multiply-accumulates of the attention are 2 (S^2 t) (k t) d and not
2 (S^2 t)^2 d: only what is routed is multiplied, which a mask would not save.
"""

from __future__ import annotations

import torch

from edgepack.exporters.architectures.blocks._attention import attend, into_heads


def regions(x: torch.Tensor, across: int) -> torch.Tensor:
    """[batch, height, width, channels] as [batch, across^2, tokens of a region, channels].

    No step has more than four dimensions, as many as accelerators transpose.
    """
    batch, height, width, channels = x.shape
    x = x.reshape(batch * across, height // across, across, width // across * channels).transpose(1, 2)
    return x.reshape(batch, across**2, -1, channels)


def whole(x: torch.Tensor, across: int, height: int, width: int) -> torch.Tensor:
    """Back from `regions`."""
    batch, channels = x.shape[0], x.shape[-1]
    x = x.reshape(batch * across, across, height // across, width // across * channels).transpose(1, 2)
    return x.reshape(batch, height, width, channels)


class RoutingAttention(torch.nn.Module):
    """`width` channels in `heads` heads.

    Args:
        width: Channels in and out.
        heads: Of attention; routes are common to all.
        across: Regions in each direction; height and width are multiples of it.
        routed: Regions that a region attends to.
    """

    def __init__(self, width: int, heads: int, across: int, routed: int) -> None:
        super().__init__()
        self.width, self.heads, self.across, self.routed = width, heads, across, routed
        self.qkv = torch.nn.Linear(width, 3 * width)
        self.out = torch.nn.Linear(width, width)
        self.local = torch.nn.Conv2d(width, width, 5, 1, 2, groups=width)

    def routes(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """Which regions each attends to, int64 [batch, regions, routed].

        Args:
            q: [batch, regions, tokens, width].
            k: As `q`.
        """
        scores = q.mean(2) @ k.mean(2).transpose(1, 2)
        return scores.topk(self.routed, -1).indices

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, height, width, channels] in and out."""
        batch, height, width, channels = x.shape
        projected = self.qkv(x)
        # Slices and not a split in unequal parts, which some accelerators have in floating point only.
        q, keys_values = projected[..., :channels], projected[..., channels:]
        near = self.local(keys_values[..., channels:].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        q, keys_values = regions(q, self.across), regions(keys_values, self.across)
        count, tokens = q.shape[1:3]
        routes = self.routes(q, keys_values[..., :channels])
        # Rows of one table, so that a region is gathered whole and not number by number.
        first = torch.arange(batch, device=x.device)[:, None, None] * count
        table = keys_values.reshape(batch * count, tokens * 2 * channels)
        gathered = table.index_select(0, (routes + first).flatten())
        gathered = gathered.reshape(batch * count, self.routed * tokens, 2 * channels)
        k, v = (into_heads(part, self.heads) for part in gathered.chunk(2, -1))
        q = into_heads(q.reshape(batch * count, tokens, channels), self.heads)
        # Scaled by all channels and not by those of a head, as the authors' code has it.
        mixed = attend(q, k, v, scale=channels**-0.5)
        mixed = whole(mixed.reshape(batch, count, tokens, channels), self.across, height, width)
        return self.out(mixed + near)  # type: ignore[no-any-return]
