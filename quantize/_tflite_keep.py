"""Leaves operators out of a recipe of ai-edge-quantizer: in float, or in 16 bits where the device has no float."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import Any

from edgepack.toolchain import tflite


def keep_operators(recipe: Any, model: Any, kept: Collection[str], *, wide: bool) -> str:
    """Add the rules that keep operators; they must come after all others.

    Args:
        recipe: The recipe manager.
        model: The float model that is to be quantized (`ModelT`).
        kept: Names of tensors that the operators compute; what an operator was rewritten to is kept with it.
        wide: Activations of 16 bits instead of float, for a device that computes with integers only.

    Returns:
        A note for the report.
    """
    parts = tuple(
        f"{name}/" for name in kept
    )  # whatever rewrote an operator named its pieces after the result

    def is_kept(name: str) -> bool:
        return name in kept or name.startswith(parts)

    found = [one for one in tflite.operators(model) if any(is_kept(tensor.name) for tensor in one.outputs)]
    gone = set(kept) - {tensor.name for one in found for tensor in one.outputs}
    graph = model.subgraphs[0]
    given, ends = (
        {graph.tensors[int(index)].name.decode() for index in ids} for ids in (graph.inputs, graph.outputs)
    )
    for name in sorted(given & {tensor.name for one in found for tensor in one.inputs if tensor is not None}):
        _rule(recipe, name, "INPUT", wide=wide)
    refused: Counter[str] = Counter()
    for operator in found:
        if not _rule(recipe, operator.name, operator.op, wide=wide):
            refused[operator.op] += 1
        elif operator.name in ends:
            _rule(recipe, operator.name, "OUTPUT", wide=wide)
    done = len(found) - refused.total()
    note = f"{done} operators kept in {'16 bits' if wide else 'float'}, as was asked for"
    if refused:
        kinds = ", ".join(f"{count} {op}" for op, count in sorted(refused.items()))
        note += f"; not {kinds}: ai-edge-quantizer has no 16-bit form"
    if gone:
        note += f"; rewriting others left {len(gone)} without use"
    return note


def _rule(recipe: Any, name: str, op: str, *, wide: bool) -> bool:
    """Add a rule for one operator; False when the quantizer has no 16-bit form of it."""
    from ai_edge_quantizer import algorithm_manager, qtyping

    scope = f"^{re.escape(name)};?$"
    kind = getattr(qtyping.TFLOperationName, op, None)
    if kind is None:
        return not wide  # an operator that the quantizer does not know stays float anyway
    if not wide:
        recipe.add_quantization_config(scope, kind, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE)
        return True
    try:
        recipe.add_static_config(scope, kind, activation_num_bits=16, weight_num_bits=8)
    except ValueError:
        return False
    return True
