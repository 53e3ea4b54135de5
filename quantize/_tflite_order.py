"""The place of the largest element is the same before and after it is rounded to a step of one scale.

    argmax (q - z) s  =  argmax q      for s > 0

The quantizer leaves ARG_MAX and ARG_MIN in float behind a DEQUANTIZE. Read from the integers, nothing is widened for
them, and Arm's compiler, which refuses a whole file over an ARG_MAX of floats, takes it.
"""

from __future__ import annotations

from typing import Any

from edgepack.quantize._tflite_rewrite import Graph


def order_integers(model: Any) -> int:
    """Let ARG_MAX and ARG_MIN read the 8-bit integers behind a DEQUANTIZE, in place; returns how many do."""
    graph = Graph(model)
    builtin, types = graph.schema.BuiltinOperator, graph.schema.TensorType
    changed = 0
    for op in graph.graph.operators:
        if graph.kind(op) not in {builtin.ARG_MAX, builtin.ARG_MIN}:
            continue
        widened = graph.made_by(op.inputs[0], builtin.DEQUANTIZE)
        # Of 16 bits there is no kernel.
        if widened is not None and graph.graph.tensors[widened.inputs[0]].type == types.INT8:
            op.inputs = [widened.inputs[0], *op.inputs[1:]]
            changed += 1
    if changed:
        graph.drop_unused()
    return changed
