"""How operators behave when their inputs' dimensions come in another order.

With y = transpose(x, p), dimension i of y is dimension p[i] of x. A rule says how an operator f, f(y) = z, is written
on x, so that z = transpose(f'(x), p): its axes, paddings and constants are those of x. Where a rule gives None, the
transpose stays in front of the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgepack.targets.mobile._tflite.graph import Graph, Operator, Tensor

Order = tuple[int, ...]
Rule = Callable[[Graph, Operator, Order, dict[Tensor, Tensor]], "Operator | None"]
"""(graph, f, p, y -> x for each transposed input) -> f' without outputs yet."""

_UNARY = (
    "RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LOGISTIC TANH LEAKY_RELU ELU GELU HARD_SWISH ABS NEG EXP LOG SQRT RSQRT "
    "SQUARE FLOOR CEIL ROUND SIN COS SIGN CAST QUANTIZE DEQUANTIZE LOGICAL_NOT"
)
_MANY = (
    "ADD SUB MUL DIV MAXIMUM MINIMUM POW SQUARED_DIFFERENCE EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL "
    "LOGICAL_AND LOGICAL_OR SELECT_V2 FLOOR_MOD FLOOR_DIV"
)
rules: dict[str, Rule] = {}


def inverse(order: Sequence[int]) -> Order:
    """The order that undoes another."""
    return tuple(int(n) for n in np.argsort(order))


def permuted(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Dimensions in an order."""
    return tuple(shape[axis] for axis in order)


def _rule(*codes: str) -> Callable[[Rule], Rule]:
    def file(rule: Rule) -> Rule:
        for code in codes:
            rules[code] = rule
        return rule

    return file


def _with(operator: Operator, inputs: Sequence[Tensor | None], **changed: int) -> Operator:
    return Operator(operator.code, list(inputs), [], operator.options | changed)


def _turned(graph: Graph, tensor: Tensor, order: Order) -> Tensor | None:
    """A constant of the operands in the order of x; None when it is computed, or quantized along an axis."""
    if tensor.values is None or (tensor.quantization is not None and not tensor.quantization.per_tensor):
        return None
    if all(n == 1 for n in tensor.shape):
        return tensor
    back = inverse(order)
    full = (1,) * (len(order) - len(tensor.shape)) + tensor.shape
    shape = permuted(full, back)
    values = tensor.values.derived(
        lambda a: np.ascontiguousarray(a.reshape(full).transpose(back)), shape, ("turned", *full, *back)
    )
    return graph.constant(values, f"{tensor.name}/turned", tensor.quantization)


@_rule(*_UNARY.split(), *_MANY.split())
def _elementwise(
    graph: Graph, operator: Operator, order: Order, sources: dict[Tensor, Tensor]
) -> Operator | None:
    inputs: list[Tensor | None] = []
    for tensor in operator.inputs:
        if tensor is None:
            return None
        if tensor in sources:
            inputs.append(sources[tensor])
        elif len(tensor.shape) == 0:
            inputs.append(tensor)
        else:
            turned = _turned(graph, tensor, order)
            if turned is None:
                return None
            inputs.append(turned)
    return _with(operator, inputs)


@_rule("CONCATENATION")
def _concatenation(
    graph: Graph, operator: Operator, order: Order, sources: dict[Tensor, Tensor]
) -> Operator | None:
    made = _elementwise(graph, operator, order, sources)
    return None if made is None else _with(operator, made.inputs, axis=order[operator.options["axis"]])


@_rule("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
def _reduction(
    graph: Graph, operator: Operator, order: Order, sources: dict[Tensor, Tensor]
) -> Operator | None:
    axes = _numbers(operator, 1)
    if axes is None or not operator.options.get("keepDims"):
        return None
    moved = sorted(order[int(axis)] for axis in axes.reshape(-1))
    return _with(
        operator, [_source(operator, 0, sources), graph.integers(moved, f"{operator.outputs[0].name}/axes")]
    )


@_rule("PAD", "PADV2", "MIRROR_PAD")
def _padding(
    graph: Graph, operator: Operator, order: Order, sources: dict[Tensor, Tensor]
) -> Operator | None:
    margins = _numbers(operator, 1)
    if margins is None:
        return None
    moved = graph.integers(margins[list(inverse(order))], f"{operator.outputs[0].name}/paddings")
    return _with(operator, [_source(operator, 0, sources), moved, *operator.inputs[2:]])


@_rule("SLICE", "TILE", "BROADCAST_TO")
def _per_dimension(
    graph: Graph, operator: Operator, order: Order, sources: dict[Tensor, Tensor]
) -> Operator | None:
    parts = [_numbers(operator, index) for index in range(1, len(operator.inputs))]
    if any(part is None or len(part) != len(order) for part in parts):
        return None
    name = operator.outputs[0].name
    moved = [
        graph.integers(part[list(inverse(order))], f"{name}/sizes") for part in parts if part is not None
    ]
    return _with(operator, [_source(operator, 0, sources), *moved])


@_rule("STRIDED_SLICE")
def _strided_slice(
    graph: Graph, operator: Operator, order: Order, sources: dict[Tensor, Tensor]
) -> Operator | None:
    made = _per_dimension(graph, operator, order, sources)
    if made is None:
        return None
    mask = operator.options.get("endMask", 0)
    moved = sum(1 << axis for at, axis in enumerate(order) if mask >> at & 1)
    return _with(operator, made.inputs, endMask=moved)


@_rule("SPLIT", "SPLIT_V")
def _split(graph: Graph, operator: Operator, order: Order, sources: dict[Tensor, Tensor]) -> Operator | None:
    place = 0 if operator.code == "SPLIT" else 2
    axis = _numbers(operator, place)
    if axis is None:
        return None
    inputs = [sources.get(tensor, tensor) if tensor is not None else None for tensor in operator.inputs]
    inputs[place] = graph.integers(order[int(axis)], f"{operator.outputs[0].name}/axis")
    return _with(operator, inputs)


@_rule("GATHER")
def _gather(graph: Graph, operator: Operator, order: Order, sources: dict[Tensor, Tensor]) -> Operator | None:
    del graph
    indices = operator.inputs[1]
    if indices is None or len(indices.shape) != 1 or operator.options.get("batchDims") or indices in sources:
        return None
    return _with(operator, [_source(operator, 0, sources), indices], axis=order[operator.options["axis"]])


@_rule("SOFTMAX", "LOG_SOFTMAX")
def _last_axis(
    graph: Graph, operator: Operator, order: Order, sources: dict[Tensor, Tensor]
) -> Operator | None:
    del graph
    if order[-1] != len(order) - 1:
        return None
    return _with(operator, [_source(operator, 0, sources)])


@_rule("PRELU")
def _prelu(graph: Graph, operator: Operator, order: Order, sources: dict[Tensor, Tensor]) -> Operator | None:
    slope = operator.inputs[1]
    if slope is None or order[0] != 0:
        return None
    turned = _turned(graph, slope, tuple(axis - 1 for axis in order[1:]))
    return None if turned is None else _with(operator, [_source(operator, 0, sources), turned])


def _source(operator: Operator, index: int, sources: dict[Tensor, Tensor]) -> Tensor:
    tensor = operator.inputs[index]
    if tensor is None:
        msg = f"{operator.code} without its input {index}"
        raise ValueError(msg)
    return sources[tensor]


def _numbers(operator: Operator, index: int) -> np.ndarray | None:
    tensor = operator.inputs[index]
    return None if tensor is None else tensor.small


def through_reshape(before: Sequence[int], after: Sequence[int], order: Order) -> tuple[Order, Order, Order]:
    """A reshape of y = transpose(x, p) as a reshape of x between two transposes, of which the first often does nothing.

    Dimensions fall into groups of equal products, from the front. A group of y is reshaped in x where its dimensions
    lie beside one another, in the same order; the first transpose brings them there and leaves the groups in the order
    in which x has them. Dimensions of length 1 lie anywhere.

    Args:
        before: Dimensions of y.
        after: Dimensions of the reshape's result, of as many elements.
        order: p.

    Returns:
        Order of the first transpose, dimensions of the reshape behind it, and order of the second transpose.
    """
    placed = []
    for own, made in _groups(before, after):
        axes = [order[at] for at in own]
        real = [axis for axis in axes if before[order.index(axis)] != 1]
        placed.append((min(real or axes, default=len(order)), axes, made))
    placed.sort(key=lambda entry: entry[0])
    first = tuple(axis for _, axes, _ in placed for axis in axes)
    real = [axis for axis in first if before[order.index(axis)] != 1]
    if real == sorted(real):
        first = tuple(range(len(order)))
    positions = [at for _, _, made in placed for at in made]
    return first, permuted(after, positions), inverse(positions)


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[range, range]]:
    found, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        first, second = i, j
        a, b = (before[i] if i < len(before) else 1), (after[j] if j < len(after) else 1)
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while a != b:
            if a < b:
                a, i = a * before[i], i + 1
            else:
                b, j = b * after[j], j + 1
        found.append((range(first, i), range(second, j)))
    return found
