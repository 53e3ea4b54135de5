"""Takes a quantized `.tflite` file's conversions at its ends away: the caller gives and gets the integers.

    x -> QUANTIZE -> q -> ... -> p -> DEQUANTIZE -> y     becomes     q -> ... -> p

An NPU has neither operator, for it has no floating point. The tensors keep their scales, by which sessions convert.
"""

from __future__ import annotations

from typing import Any


def integer_ends(model: Any) -> int:
    """Remove QUANTIZE behind inputs and DEQUANTIZE in front of outputs, in place.

    An input that anything else reads, and an output that anything else needs in float, stay.

    Args:
        model: The schema's `ModelT`.

    Returns:
        How many operators went.
    """
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    graph = model.subgraphs[0]
    moved: dict[int, int] = {}
    kept = []
    inputs, outputs = ([int(i) for i in ids] for ids in (graph.inputs, graph.outputs))
    reads = [int(i) for operator in graph.operators for i in operator.inputs]
    for operator in graph.operators:
        kind = model.operatorCodes[operator.opcodeIndex].builtinCode
        first, last = int(operator.inputs[0]), int(operator.outputs[0])
        enters = kind == BuiltinOperator.QUANTIZE and first in inputs and reads.count(first) == 1
        leaves = kind == BuiltinOperator.DEQUANTIZE and last in outputs and last not in reads
        if enters and first not in outputs:
            moved[first] = last
        elif leaves and first not in inputs and first not in outputs:
            moved[last] = first
        else:
            kept.append(operator)
    count = len(graph.operators) - len(kept)
    graph.operators = kept
    graph.inputs = [moved.get(i, i) for i in inputs]
    graph.outputs = [moved.get(i, i) for i in outputs]
    for signature in model.signatureDefs or []:
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = moved.get(int(entry.tensorIndex), int(entry.tensorIndex))
    return count
