"""The outputs of a quantized graph: those that its signature names.

Where a result is also read by an operator that stays float, ai-edge-quantizer hands the graph's output to the
DEQUANTIZE that it puts in front of that operator, and leaves the signature at the integers. What is no output of the
graph has no memory behind it when a call ends ("Tensor data is null").
"""

from __future__ import annotations

from typing import Any

from edgepack.toolchain import tflite


def name_outputs(model: Any) -> int:
    """Make the tensors that the signatures name outputs of the main graph, in place; returns how many were not.

    Raises:
        ValueError: One of them has no counterpart among the graph's outputs.
    """
    graph = model.subgraphs[0]
    signatures = [s for s in model.signatureDefs or () if s.subgraphIndex == 0]
    named = {int(entry.tensorIndex): entry.name for s in signatures for entry in s.outputs}
    sources = {
        int(graph.operators[operator.index].outputs[0]): int(graph.operators[operator.index].inputs[0])
        for operator in tflite.operators(model)
        if operator.op in {"DEQUANTIZE", "QUANTIZE"}
    }
    outputs, changed = [int(index) for index in graph.outputs], 0
    for index, name in named.items():
        if index in outputs:
            continue
        place = next(
            (i for i, output in enumerate(outputs) if output not in named and sources.get(output) == index),
            None,
        )
        if place is None:
            raise ValueError(f"the output '{name.decode()}' of the signature is none of the quantized graph")
        outputs[place] = index
        changed += 1
    if changed:
        graph.outputs = outputs
    return changed
