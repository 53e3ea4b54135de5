"""Clips whose bounds no range of integers says become Max and Min.

    y = Clip(x, l, h)  =  Min(Max(x, l), h)        where l > 0 or h < 0

ONNX Runtime's quantizer takes a Clip out and lets the range of its result do its work. A range of integers has zero in
it, for zero must be exact, so that a bound above or below zero is lost: a count that was at least one is zero again,
and what is divided by it anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx


def clips_that_stay(
    model: onnx.ModelProto, found: Mapping[str, tuple[Any, Any]]
) -> dict[str, tuple[Any, Any]]:
    """Change such Clips of a model in place.

    Args:
        model: The float model with weights in memory and types inferred.
        found: Lowest and highest value of every activation.

    Returns:
        The ranges, with those of what stands between a Max and its Min.
    """
    import numpy as np
    import onnx

    numbers = single_floats(model)
    made = dict(found)
    nodes = []
    for node in model.graph.node:
        low, high = clip_ends(node, numbers)
        if not (low is not None and low > 0) and not (high is not None and high < 0):
            nodes.append(node)
            continue
        source = node.input[0]
        steps = [("Max", 1, low), ("Min", 2, high)]
        steps = [step for step in steps if step[2] is not None]
        for index, (op, place, end) in enumerate(steps):
            last = index == len(steps) - 1
            result = node.output[0] if last else f"{node.output[0]}/{op}"
            name = node.name if last else f"{node.name}/{op}"
            nodes.append(onnx.helper.make_node(op, [source, node.input[place]], [result], name=name))
            if not last:
                between = onnx.helper.make_tensor_value_info(result, onnx.TensorProto.FLOAT, None)
                model.graph.value_info.append(between)
                if source in made:
                    made[result] = tuple(np.maximum(value, np.float32(end)) for value in made[source])
            source = result
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return made


def clip_ends(node: onnx.NodeProto, numbers: Mapping[str, float]) -> tuple[float | None, float | None]:
    """The bounds of a Clip that are known numbers; None and None of any other node."""
    if node.op_type != "Clip" or node.domain not in {"", "ai.onnx"}:
        return None, None
    low, high = (*node.input[1:], "", "")[:2]
    return numbers.get(low), numbers.get(high)


def single_floats(model: onnx.ModelProto) -> dict[str, float]:
    """The value of every constant of one float32, by name."""
    import onnx

    return {
        tensor.name: float(onnx.numpy_helper.to_array(tensor).item())
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) == 1
    }
