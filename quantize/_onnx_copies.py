"""Constants that several nodes read, one copy for every reader: what each of them quantizes in its own way.

ONNX Runtime's quantizer copies a bias itself where a second node reads it, for its scale is the product of those of
that node's input and weight; but it takes the copy's name from other constants only. `val_27` of nine normalizations
became `val_273`, which was a product's result already, and the file that it wrote did not load (1.31.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

BIASES: Mapping[str, Sequence[int]] = dict.fromkeys(
    ("Conv", "ConvTranspose", "Gemm", "InstanceNormalization", "LayerNormalization"), (2,)
)
"""Where these operators read their bias."""


def own_constants(model: onnx.ModelProto, places: Mapping[str, Sequence[int]] = BIASES) -> int:
    """Give every node but the first a copy of the constants that it shares, in place; returns how many were made.

    Args:
        model: With weights in memory.
        places: Operator to the places of its inputs that are copied.
    """
    import onnx

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    taken = {*constants, *(value.name for value in graph.input)}
    taken |= {name for node in graph.node for name in node.output}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    made = 0
    for node in graph.node:
        for place in places.get(node.op_type, ()):
            name = node.input[place] if place < len(node.input) else ""
            if name not in constants or readers[name] < 2:  # noqa: PLR2004 - itself and another
                continue
            own = f"{name}/own"
            while own in taken:
                own += "+"
            taken.add(own)
            copy = onnx.TensorProto()
            copy.CopyFrom(constants[name])
            copy.name = own
            graph.initializer.append(copy)
            node.input[place] = own
            readers[name] -= 1
            made += 1
    return made
