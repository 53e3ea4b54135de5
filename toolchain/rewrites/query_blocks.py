"""`query blocks`: attention for some queries at a time, so that their scores fit into fast memory.

    softmax(q k^T) v  =  the rows of softmax(q_i k^T) v for every block q_i of queries, one below the other

n queries and keys have n^2 scores a head, which are written and read three times. Those of a block are n^2 / blocks:
the number of blocks is the least with which they take half of the memory that the accelerator has for activations, for
they are there twice, before and after the softmax. Floating point gives the same numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgepack.toolchain.rewrites._attention import (
    QUERIES,
    Attention,
    blocks,
    find_attention,
    score_bytes,
    split,
)
from edgepack.toolchain.rewrites.base import Device, rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

_MOST = 64


@rewrite(
    "query blocks",
    why="the scores of all queries at once are more than the NPU's fast memory holds",
    trial=lambda device: device.fast_bytes > 0,
)
def query_blocks(model: ir.Model, device: Device) -> int:
    """Split what does not fit; returns how many attentions."""
    count = 0
    for one in find_attention(model.graph):
        number = _blocks(one, device)
        if number > 1:
            split(model.graph, one, QUERIES, blocks(one.shape[QUERIES], number))
            count += 1
    return count


def _blocks(one: Attention, device: Device) -> int:
    """How many blocks it takes; 1 where all scores fit, or where no block would."""
    if device.fast_bytes <= 0:
        return 1
    number = math.ceil(2 * score_bytes(one.shape, device.activation_bits) / device.fast_bytes)
    return number if number <= min(_MOST, one.shape[QUERIES]) else 1
