"""Operators that read, write and choose by number, for the worker that has coremltools (see `_coreml_operators`).

Core ML's scatters and lookups along an axis are ONNX's where the indices are as wide as the data along all other axes.
It counts places from 0: constant places from the end are counted anew, computed ones must not be negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil import Builder

if TYPE_CHECKING:
    from edgepack.toolchain.vendors._coreml_operators import Node, number, on, spread
else:
    from _coreml_operators import Node, number, on, spread

_MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


def _mode(n: Node) -> str:
    return _MODES[n.attribute("reduction", "none")]


def _counted(indices: Any, size: int) -> Any:
    """Indices from 0 on, where they are known."""
    if indices.val is None:
        return indices
    known = np.asarray(indices.val)
    return Builder.const(val=np.where(known < 0, known + size, known).astype(np.int32))


def _as_wide(n: Node, axis: int) -> None:
    data, indices = list(n.input(0).shape), list(n.input(1).shape)
    if data[:axis] + data[axis + 1 :] != indices[:axis] + indices[axis + 1 :]:
        raise n.refuse("its indices are narrower than its data along an axis that they do not count")


@on("ScatterElements")
def _scatter_elements(n: Node) -> Any:
    axis = n.attribute("axis", 0) % n.input(0).rank
    _as_wide(n, axis)
    places = _counted(n.input(1), n.input(0).shape[axis])
    return Builder.scatter_along_axis(
        data=n.input(0), indices=places, updates=n.input(2), axis=axis, mode=_mode(n)
    )


@on("GatherElements")
def _gather_elements(n: Node) -> Any:
    axis = n.attribute("axis", 0) % n.input(0).rank
    _as_wide(n, axis)
    return Builder.gather_along_axis(
        x=n.input(0), indices=_counted(n.input(1), n.input(0).shape[axis]), axis=axis
    )


@on("ScatterND")
def _scatter_nd(n: Node) -> Any:
    return Builder.scatter_nd(data=n.input(0), indices=n.input(1), updates=n.input(2), mode=_mode(n))


@on("GatherND")
def _gather_nd(n: Node) -> Any:
    return Builder.gather_nd(x=n.input(0), indices=n.input(1), batch_dims=n.attribute("batch_dims", 0))


@on("TopK")
def _top_k(n: Node) -> Any:
    return Builder.topk(
        x=n.input(0),
        k=int(n.constant(1).item()),
        axis=n.attribute("axis", -1),
        ascending=not n.attribute("largest", 1),
        sort=bool(n.attribute("sorted", 1)),
    )


@on("Tile")
def _tile(n: Node) -> Any:
    return Builder.tile(x=n.input(0), reps=[int(count) for count in n.constant(1)])


@on("Trilu")
def _trilu(n: Node) -> Any:
    x = n.input(0)
    ones = np.ones(x.shape[-2:], bool)
    offset = 0 if n.input(1) is None else int(n.constant(1).item())
    kept = np.triu(ones, offset) if n.attribute("upper", 1) else np.tril(ones, offset)
    zero = Builder.const(val=np.asarray(number(x, 0)))
    return Builder.select(cond=spread(Builder.const(val=kept), n.shape), a=x, b=spread(zero, n.shape))


@on("Range")
def _range(n: Node) -> Any:
    start, end, step = (n.constant(index) for index in range(3))
    return Builder.const(val=np.arange(start.item(), end.item(), step.item(), dtype=start.dtype))


@on("Shape")
def _shape(n: Node) -> Any:
    sizes = np.array(n.input(0).shape, np.int32)
    return Builder.const(val=sizes[n.attribute("start", 0) : n.attribute("end", len(sizes))])


@on("Mod")
def _mod(n: Node) -> Any:
    if n.attribute("fmod", 0):
        raise n.refuse("its result has the sign of the dividend, Core ML's that of the divisor")
    return Builder.mod(x=n.input(0), y=n.input(1))
