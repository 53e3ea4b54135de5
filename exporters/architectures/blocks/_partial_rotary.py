"""Attention whose heads turn only their first channels to a position and leave the others as they are.

As in GPT-J, CodeGen and GPT-NeoX (S. Black et al., GPT-NeoX-20B, arXiv:2204.06745, section 2.1.1).
"""

from __future__ import annotations

import torch

from edgepack.exporters.architectures.blocks._attention import SelfAttention, split
from edgepack.exporters.architectures.blocks._rotary import Rotation, rotate


class PartialRotaryAttention(SelfAttention):
    """`width` channels in `heads` heads, of which each turns its first `turned` channels.

    Args:
        width: Channels in and out.
        heads: Of queries, keys and values.
        turned: Channels of a head, even; a `Rotation` is of as many.
        bias: All four projections have one.
    """

    def __init__(self, width: int, heads: int, turned: int, *, bias: bool = False) -> None:
        super().__init__(width, heads, bias=bias)
        self.turned = turned

    def _projected(
        self, x: torch.Tensor, turn: Rotation | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = split(self.qkv(x), 3, self.heads)
        if turn is not None:
            q, k = self._turn(q, turn), self._turn(k, turn)
        return q, k, v

    def _turn(self, x: torch.Tensor, turn: Rotation) -> torch.Tensor:
        return torch.cat([rotate(x[..., : self.turned], turn), x[..., self.turned :]], -1)
