"""Bits in bytes: least significant first, 1 for -1, rows filled up with 0 to whole bytes."""

from __future__ import annotations

import torch
from torch import Tensor

_BYTE = 8


def packed_bytes(count: int) -> int:
    """Bytes that hold `count` bits."""
    return -(-count // _BYTE)


def pack(signs: Tensor) -> Tensor:
    """[..., K] of +1 and -1 to uint8 [..., ceil(K / 8)]."""
    count = signs.shape[-1]
    bits = torch.nn.functional.pad((signs < 0).to(torch.uint8), (0, packed_bytes(count) * _BYTE - count))
    places = torch.arange(_BYTE, dtype=torch.uint8, device=signs.device)
    return (bits.reshape(*bits.shape[:-1], -1, _BYTE) << places).sum(-1).to(torch.uint8)


def unpack(packed: Tensor, count: int) -> Tensor:
    """uint8 [..., ceil(count / 8)] to float32 [..., count] of +1 and -1."""
    places = torch.arange(_BYTE, dtype=torch.uint8, device=packed.device)
    bits = ((packed.unsqueeze(-1) >> places) & 1).flatten(-2)[..., :count]
    return 1 - 2 * bits.to(torch.float32)
