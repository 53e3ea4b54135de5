"""Leaves operators out of a recipe of ai-edge-quantizer: in float, or in 16 bits where the device has no float."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from edgepack.toolchain import tflite


def keep_operators(recipe: Any, model: Any, kept: Collection[str], *, wide: bool) -> str:
    """Add the rules that keep operators; they must come after all others.

    Args:
        recipe: The recipe manager.
        model: The float model that is to be quantized (`ModelT`).
        kept: Names of tensors that the operators compute.
        wide: Activations of 16 bits instead of float, for a device that computes with integers only.

    Returns:
        A note for the report.
    """
    found = [one for one in tflite.operators(model) if any(tensor.name in kept for tensor in one.outputs)]
    graph = model.subgraphs[0]
    given, ends = (
        {graph.tensors[int(index)].name.decode() for index in ids} for ids in (graph.inputs, graph.outputs)
    )
    for name in sorted(given & {tensor.name for one in found for tensor in one.inputs if tensor is not None}):
        _rule(recipe, name, "INPUT", wide=wide)
    for operator in found:
        _rule(recipe, operator.name, operator.op, wide=wide)
        if operator.name in ends:
            _rule(recipe, operator.name, "OUTPUT", wide=wide)
    return f"{len(found)} operators kept in {'16 bits' if wide else 'float'}, as was asked for"


def _rule(recipe: Any, name: str, op: str, *, wide: bool) -> None:
    from ai_edge_quantizer import algorithm_manager, qtyping

    scope = f"^{re.escape(name)};?$"
    kind = getattr(qtyping.TFLOperationName, op, None)
    if kind is None:
        return  # an operator that the quantizer does not know stays float anyway
    if wide:
        recipe.add_static_config(scope, kind, activation_num_bits=16, weight_num_bits=8)
    else:
        recipe.add_quantization_config(scope, kind, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE)
