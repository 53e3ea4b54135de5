"""Kernels that give one scale only, and results that are wanted in another.

The kernel rounds to its own step s', and QUANTIZE rounds that to the step s that is wanted:

    q' = round(y / s'),   q = round(q' s' / s).

The first rounding moves y / s by at most s' / (2 s). Two roundings of numbers no further apart than 1 are at most one
step apart, so that q is within one step of round(y / s) as long as s >= s' / 2. Below that the kernel cannot tell
apart what is wanted: small probabilities of a softmax over a thousand classes all become 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.targets.mobile._tflite.base import NotInteger

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.node import Node
    from edgepack.targets.mobile._tflite.quantization import Quantization


def fine_enough(node: Node, own: Quantization) -> Quantization:
    """A kernel's own scale, where it serves the node's result.

    Args:
        node: A node that is computed with integers.
        own: What the kernel gives.

    Raises:
        NotInteger: The result is wanted more than twice as fine.
    """
    wanted = node.results[0]
    if wanted is not None and wanted.scale < own.scale / 2:
        raise NotInteger("its result has a finer scale than TFLite's kernel can give")
    return own
