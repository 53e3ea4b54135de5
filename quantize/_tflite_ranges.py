"""Ranges that no integer kernel can hold: of tensors that were zero in every sample, and of the rest of a cancellation.

With steps s of 8-bit tensors, an addition's kernel brings s_x / s_y into fixed point, a product's s_x s_w / s_y. Of a
tensor that never left zero ai-edge-quantizer makes s_y = 1e-9 / 255; the ratios overflow, and LiteRT refuses the file
or aborts the process. What such a tensor will be in use nobody has seen: it gets the widest range of what it is
computed from. Zero stays exactly zero, so nothing of what was seen is rounded more than before.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from edgepack.toolchain import tflite

if TYPE_CHECKING:
    import numpy as np

_FLAT = 1e-9
"""Widths below it are widened to it by ai-edge-quantizer."""
_SUMS = frozenset({"ADD", "SUB"})
_CANCELLED = 2.0**-7
"""Smallest width of a sum against its widest input. The sum's error is at least half of that input's step, 2^-9 of its
width: a range below this one spends its steps on the inputs' rounding. XNNPACK takes ratios of steps below 2^8."""
_UNSEEN = (-1.0, 1.0)
"""Of a tensor that was always zero and is computed from nothing else: an input, such as a state at its beginning."""

Extremes = MutableMapping[str, dict[str, "np.ndarray"]]


def widen(extremes: Extremes, model: Any) -> int:
    """Widen the ranges of `extremes` in place; returns how many.

    Args:
        extremes: {"min", "max"} of every tensor by its name, one number each.
        model: The float file's graph, which they were seen in.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    widened = 0
    for index in graph.inputs:
        tensor = graph.tensors[index]
        if tensor.type == schema.TensorType.FLOAT32:
            widened += _widen(extremes, tensor.name.decode(), _UNSEEN, _FLAT)
    for operator in tflite.operators(model):
        seen = [_ends(extremes[t.name]) for t in operator.inputs if t is not None and t.name in extremes]
        wide = [ends for ends in seen if _width(ends) >= _FLAT]
        widest = max(wide, key=_width, default=_UNSEEN)
        least = _CANCELLED * _width(widest) if operator.op in _SUMS and wide else _FLAT
        for tensor in operator.outputs:
            if tensor.dtype == "float32":
                widened += _widen(extremes, tensor.name, widest, max(least, _FLAT))
    return widened


def _ends(found: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """The range that the quantizer makes of two extremes: zero is always part of it."""
    return min(float(found["min"].min()), 0.0), max(float(found["max"].max()), 0.0)


def _width(ends: tuple[float, float]) -> float:
    return ends[1] - ends[0]


def _widen(extremes: Extremes, name: str, ends: tuple[float, float], least: float) -> bool:
    """Give a tensor whose range is narrower than `least` a part of `ends`: all of it where it was flat."""
    import numpy as np

    found = extremes.get(name)
    if found is None or (width := _width(_ends(found))) >= least:
        return False
    share = 1.0 if width < _FLAT else least / _width(ends)
    low, high = _ends(found)
    for kind, value in (("min", min(low, ends[0] * share)), ("max", max(high, ends[1] * share))):
        found[kind] = np.full_like(found[kind], value)
    return True
