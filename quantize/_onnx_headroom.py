"""Headroom in ONNX: ranges of 16-bit activations are wider than what calibration saw.

The reasons, and the factors, are those of the TFLite files' (`_tflite_headroom`): some input always goes beyond what
the samples showed, clipping costs more than one bit of sixteen, and 1 / sqrt of a row that is smaller than all others
was has no natural end. A Clip has its ends, and no node but its range says them. Inputs of the graph keep what was
seen, and so do the squares of a norm. In a decoder whose samples were single moments of a sequence one sum of a rotated
key went beyond them by 0.7 of 3.1, and its logits had a cosine of 0.86 with float's in 16 bits (the zoo's
return-of-the-encoder, tiny, the file run by ONNX Runtime).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgepack.quantize._onnx_clips import clip_ends, single_floats
from edgepack.quantize._tflite_headroom import FACTOR, GUESS, GUESS_FACTOR, OWN_FACTORS

if TYPE_CHECKING:
    import numpy as np
    import onnx

    Ranges = Mapping[str, tuple[np.ndarray, np.ndarray]]

_INVERSE_ROOT = OWN_FACTORS["RSQRT"]


def with_headroom(model: onnx.ModelProto, found: Ranges) -> dict[str, tuple[Any, Any]]:
    """The ranges with those of what operators compute widened.

    Args:
        model: The float model with weights in memory, which they were seen in.
        found: Lowest and highest value of every activation, float32 scalars.
    """
    import numpy as np

    constants = {tensor.name for tensor in model.graph.initializer}
    numbers = single_floats(model)
    producers = {name: node for node in model.graph.node for name in node.output}
    left = _squares(model, constants)
    made = dict(found)
    for node in model.graph.node:
        for name in node.output:
            if name not in found or name in left:
                continue
            factor = _INVERSE_ROOT if _is_inverse_root(node, producers) else FACTOR
            if name.endswith(GUESS):
                factor = GUESS_FACTOR
            low, high = (float(end) * factor for end in found[name])
            least, most = clip_ends(node, numbers)
            low = low if least is None else max(low, least)
            high = high if most is None else min(high, most)
            made[name] = (np.float32(low).reshape(()), np.float32(high).reshape(()))
    return made


def _is_inverse_root(node: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a node divides by a square root."""
    if node.op_type not in {"Reciprocal", "Div"}:
        return False
    divisor = producers.get(node.input[-1])
    return divisor is not None and divisor.op_type == "Sqrt"


def _squares(model: onnx.ModelProto, constants: set[str]) -> set[str]:
    """Names of a norm's squares, their mean, and what is made of it up to 1 / sqrt."""
    squares: set[str] = set()
    means: set[str] = set()
    roots: set[str] = set()
    for node in model.graph.node:
        out = node.output[0] if node.output else ""
        computed = [name for name in node.input if name and name not in constants]
        first = computed[0] if computed else None
        if (node.op_type == "Mul" and computed == [first] * 2) or (
            node.op_type == "Pow" and len(computed) == 1
        ):
            squares.add(out)
        elif node.op_type in {"ReduceMean", "ReduceSum"} and first in squares:
            means |= {str(first), out}
        elif node.op_type in {"Add", "Mul", "Max"} and len(computed) == 1 and first in means:
            means.add(out)
        elif node.op_type in {"Sqrt", "Reciprocal", "Div"} and len(computed) == 1 and first in means | roots:
            roots.add(out)
    return means | roots
