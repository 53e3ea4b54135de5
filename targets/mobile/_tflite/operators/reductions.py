"""Sums, means, maxima and norms along axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.targets.mobile._tflite.base import operator

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.graph import Tensor
    from edgepack.targets.mobile._tflite.node import Node

_PLAIN = {"ReduceSum": "SUM", "ReduceMean": "MEAN", "ReduceMax": "REDUCE_MAX", "ReduceMin": "REDUCE_MIN",
          "ReduceProd": "REDUCE_PROD"}  # fmt: skip


@operator(*(name for name in _PLAIN if name != "ReduceMean"), to="SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD")
def reduction(node: Node) -> None:
    """The reduction of the same name."""
    axes = _axes(node)
    if not axes:
        node.bind(node.x())
        return
    _reduce(node, _PLAIN[node.op], node.x(), axes)


@operator("ReduceMean", to="MEAN", integer=("int8", "int16"))
def mean(node: Node) -> None:
    """The mean along axes."""
    axes = _axes(node)
    if not axes:
        node.bind(node.x())
        return
    _reduce(node, "MEAN", node.x(), axes)


@operator("ReduceSumSquare", "ReduceL2", "ReduceL1", "ReduceLogSum", "ReduceLogSumExp",
          to="MUL, ABS, EXP, SUM, SQRT, LOG, SUB, ADD, REDUCE_MAX")  # fmt: skip
def norms(node: Node) -> None:
    """The sum x^2, sqrt(sum x^2), sum |x|, log(sum x), and log(sum exp(x - max)) + max, which does not overflow."""
    x, axes = node.x(), _axes(node)
    kept = tuple(1 if at in axes else n for at, n in enumerate(x.shape))
    where = node.integers(axes, "axes")
    if node.op == "ReduceLogSumExp":
        top = node.emit("REDUCE_MAX", [x, where], kept, keepDims=True)
        raised = node.emit("EXP", [node.emit("SUB", [x, top], x.shape, potScaleInt16=False)], x.shape)
        total = node.emit("LOG", [node.emit("SUM", [raised, where], kept, keepDims=True)], kept)
        node.finish("ADD", [total, top], shape=kept, potScaleInt16=False)
        return
    if node.op in {"ReduceSumSquare", "ReduceL2"}:
        x = node.emit("MUL", [x, x], x.shape)
    elif node.op == "ReduceL1":
        x = node.emit("ABS", [x], x.shape)
    last = {"ReduceL2": "SQRT", "ReduceLogSum": "LOG"}.get(node.op)
    if last is None:
        _reduce(node, "SUM", x, axes)
        return
    node.finish(last, [node.emit("SUM", [x, where], kept, keepDims=True)], shape=kept)


@operator("GlobalAveragePool", to="MEAN", integer=("int8", "int16"))
def global_average_pool(node: Node) -> None:
    """The mean over all positions of [N, C, ...]."""
    _reduce(node, "MEAN", node.x(), list(range(2, len(node.shape()))))


@operator("GlobalMaxPool", to="REDUCE_MAX")
def global_max_pool(node: Node) -> None:
    """The largest over all positions of [N, C, ...]."""
    _reduce(node, "REDUCE_MAX", node.x(), list(range(2, len(node.shape()))))


def _axes(node: Node) -> list[int]:
    """The reduced axes, in order; none where the node says that it does nothing."""
    rank = len(node.shape())
    given = node.attribute("axes")
    if given is None and node.has(1):
        given = node.known(1, "axes").reshape(-1).tolist()
    if not given:
        return [] if node.attribute("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(node.axis(int(axis), rank) for axis in given)


def _reduce(node: Node, code: str, x: Tensor, axes: list[int]) -> None:
    # Dimensions are kept and dropped by a reshape: layouts can then be followed through.
    kept = tuple(1 if at in axes else n for at, n in enumerate(x.shape))
    node.finish(code, [x, node.integers(axes, "axes")], shape=kept, keepDims=True)
