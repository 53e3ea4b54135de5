"""Writing into tensors by number, as caches of fixed capacity are written.

SCATTER_ND writes into zeros and cannot say where it wrote, so it is used twice: for the numbers, and for how often a
place was written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepack.targets.mobile._tflite.base import operator

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.graph import Tensor
    from edgepack.targets.mobile._tflite.node import Node

_TO = "SCATTER_ND, GREATER, SELECT_V2"
_LIMITS = "no reduction; computed indices not negative, and none twice"


@operator("ScatterND", to=_TO, limits=_LIMITS)
def scatter_nd(node: Node) -> None:
    """Slices replaced by number."""
    indices = node.x(1)
    _write(node, indices, node.x(2), node.x(2).shape[len(indices.shape) - 1 :])


@operator("ScatterElements", to=_TO, limits=_LIMITS)
def scatter_elements(node: Node) -> None:
    """Elements replaced by their number along one axis, their numbers along the others being their own."""
    indices, shape = node.x(1), _closed(node, node.shape(1))
    axis = node.axis(node.attribute("axis", 0), len(shape))
    known = node.small(1)
    if known is not None:
        indices = node.integers(np.where(known < 0, known + node.shape(0)[axis], known).astype(np.int32))
    own = np.indices(shape, dtype=np.int32)
    places = [
        node.reshaped(indices, (*shape, 1)) if at == axis else node.integers(own[at][..., None], "places")
        for at in range(len(shape))
    ]
    together = node.emit("CONCATENATION", places, (*shape, len(shape)), dtype="int32", axis=len(shape))
    _write(node, together, node.x(2), ())


def _write(node: Node, places: Tensor, updates: Tensor, slices: tuple[int, ...]) -> None:
    """`updates` at `places` [.., numbers] of the first input; every update is a slice of that shape."""
    if node.attribute("reduction", "none") not in {"none", b"none"}:
        node.refuse("it reduces what is written twice")
    data = node.x(0)
    shape = node.integers(_closed(node, data.shape), "shape")
    _closed(node, places.shape)
    written = node.emit("SCATTER_ND", [places, updates, shape], data.shape, dtype=updates.dtype)
    one = node.constant(np.ones((*places.shape[:-1], *slices), np.float32), "ones")
    count = node.emit("SCATTER_ND", [places, one, shape], data.shape, dtype="float32")
    here = node.emit("GREATER", [count, node.number(0.0, "zero")], data.shape, dtype="bool")
    node.finish("SELECT_V2", [here, written, data])


def _closed(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The dimensions, none of them open."""
    if node.size(shape) < 0:
        node.refuse("its size is open", "Give sizes for all named dimensions")
    return shape
