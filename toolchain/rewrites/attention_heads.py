"""`attention heads`: every head's attention by itself, from its own columns of the projections.

    softmax(q k^T) v over [heads, queries, d]  =  for every head: softmax(q_h k_h^T) v_h,  q_h = x W[:, h]

A product of fewer axes is one that an accelerator may take where it refuses the whole. One tensor for all heads has one
scale, which the widest head decides, and with 8 bits the others have few steps left; taken apart, every head's
queries, keys and values have scales of their own. That costs time, so that it is done where somebody asks for it:
`--rewrite "attention heads"`. Floating point gives the same numbers, for nothing is added in another order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.rewrites._attention import HEADS, blocks, find_attention, split
from edgepack.toolchain.rewrites.base import Cure, Device, rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

_MOST = 64  # heads: a graph of that many pieces says nothing to anybody


@rewrite(
    "attention heads",
    why="a product of all heads at once is more than the NPU takes, or has one scale for heads of different width",
    cures=(Cure("BATCH_MATMUL", r"[Dd]imension|[Rr]ank|[Bb]atch"), Cure("SOFTMAX", r"[Dd]imension|[Rr]ank")),
)
def attention_heads(model: ir.Model, device: Device) -> int:
    """Take them apart; returns of how many attentions."""
    del device
    found = [one for one in find_attention(model.graph) if 1 < one.shape[HEADS] <= _MOST]
    for one in found:
        split(model.graph, one, HEADS, blocks(one.shape[HEADS], one.shape[HEADS]))
    return len(found)
