"""Keeps the two ends of an int8 model finer than 8 bits: a convolutional network's stem, and its scores.

Rounding hurts most at the ends. The first filters take differences of neighbouring pixels, so that their
results are small against the rounding of what goes in, and everything behind inherits that. Scores over
many classes differ by less than one of 256 steps. Both ends are a few per cent of the work.

Measured with EfficientNet-Lite0 on 320 crops of photographs (same top class as fp32; mean cosine of the
scores), all with corrected biases: nothing kept 93.1 % (0.9973); scores alone 93.4 % (0.9974); stem and
scores in float 96.3 % (0.9988) in the same time; in int16 95.6 % (0.9983).

A stem ends with its last multiplications: what they gave is rounded to 8 bits behind them in any case, and an operator
that only moves 16-bit numbers until then, such as the PAD of a strided convolution, saves nothing and costs much. Of a
network of 32 x 32 pixels whose first convolution is a quarter of the work, so that a PAD was all that was kept, an
Ethos-U55 needs 0.126 ms with it and 0.066 ms without by Vela's estimate: Vela makes a PAD part of the convolution
behind it, but not with a QUANTIZE between them.
"""

from __future__ import annotations

import math
import re
from typing import Any

from edgepack.toolchain import tflite

_STEM_SHARE = 0.06
"""Share of the multiplications that leading layers may have together: a stem and its first block."""
_CONVOLUTIONAL = 0.5


def widen_ends(recipe: Any, model: Any, width: str) -> list[str]:
    """Add rules for both ends to a recipe of ai-edge-quantizer.

    Args:
        recipe: The recipe manager, with the rules for all operators in it.
        model: The float model (`ModelT`).
        width: "float" (results in float; a runtime with float kernels) or "int16" (an integer NPU).

    Returns:
        Notes for the report.
    """
    stem, scores = _stem(model), _scores(model)
    for operator in (*stem, *scores):
        _widen(recipe, operator.name, operator.op, width)
    graph = model.subgraphs[0]
    inputs = {graph.tensors[int(i)].name.decode() for i in graph.inputs}
    for name in sorted(inputs & {tensor.name for op in stem for tensor in op.inputs if tensor}):
        _widen(recipe, name, "INPUT", width)
    outputs = {graph.tensors[int(i)].name.decode() for i in graph.outputs}
    for name in sorted(outputs & {operator.name for operator in scores}):
        _widen(recipe, name, "OUTPUT", width)
    notes = []
    if stem:
        notes.append(
            f"Kept the first {len(stem)} layers at {width}: what they round, all layers behind inherit"
        )
    if scores:
        notes.append(f"Kept the scores at {width}: 8 bits would merge neighbouring ones")
    return notes


def _stem(model: Any) -> list[tflite.Operator]:
    """Leading operators of a convolutional network, as many as the share allows, up to the last multiplications.

    A pool behind those is among them.
    """
    operators = list(tflite.operators(model))
    total = sum(operator.macs for operator in operators)
    if (tflite.convolution_share(model) or 0) <= _CONVOLUTIONAL:
        return []
    stem, spent = [], 0
    for operator in operators:
        spent += operator.macs
        if spent > _STEM_SHARE * total:
            break
        stem.append(operator)
    while stem and not stem[-1].macs and not _shrinks(stem[-1]):
        stem.pop()
    return stem


def _shrinks(operator: tflite.Operator) -> bool:
    """Whether less goes out than comes in, as of a pool: what is rounded behind it is so much less."""
    largest = max((math.prod(tensor.shape) for tensor in operator.inputs if tensor), default=0)
    return math.prod(operator.outputs[0].shape) < largest


def _scores(model: Any) -> list[tflite.Operator]:
    """Fully connected layers that make an output, each with the mean that feeds it."""
    graph = model.subgraphs[0]
    outputs = set(map(int, graph.outputs))
    operators = list(tflite.operators(model))
    by_name = {operator.name: operator for operator in operators}
    found = []
    for operator, raw in zip(operators, graph.operators, strict=True):
        if operator.op == "FULLY_CONNECTED" and int(raw.outputs[0]) in outputs:
            source = by_name.get(operator.inputs[0].name) if operator.inputs[0] else None
            found += [source, operator] if source and source.op == "MEAN" else [operator]
    return found


def _widen(recipe: Any, name: str, op: str, width: str) -> None:
    from ai_edge_quantizer import algorithm_manager, qtyping

    scope = f"^{re.escape(name)};?$"
    kind = getattr(qtyping.TFLOperationName, op, None)
    if kind is None:
        return  # an operator that the quantizer does not know stays as it is anyway
    if width == "int16":
        recipe.add_static_config(scope, kind, activation_num_bits=16, weight_num_bits=8)
    elif op == "FULLY_CONNECTED":  # its weights still shrink to int8
        recipe.add_dynamic_config(scope, kind, num_bits=8)
    else:
        recipe.add_quantization_config(scope, kind, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE)
