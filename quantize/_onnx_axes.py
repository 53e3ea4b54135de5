"""Along which axis a constant has its scales, for all that read it.

A product computes with integers where the scale of its weight W is one per output, so that it leaves the sum:

    y_o = sum_k x_k s_o q_ko = s_o sum_k x_k q_ko

which is axis 0 of a Conv, 1 of a ConvTranspose and of a MatMul's matrix, 0 or 1 of a Gemm by transB. Constants without
such an axis have one scale: on the left of a product (s_k would stand within the sum), a stack of matrices (ONNX
Runtime's kernels, 1.31.1, take scales along the columns of a single matrix), a table whose rows are looked up and keep
its scale. ONNX Runtime's quantizer asks every reader by itself, the last one wins, and a MatMul says axis 1 of any
constant: such a file fails when it runs, or takes the scales of other values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_CONVOLUTIONS = {"Conv": 0, "ConvTranspose": 1}
_WEIGHT, _BIAS = 1, 2  # among the inputs
_MATRIX = 2
_BIASED = ("Conv", "ConvTranspose", "Gemm")


def scale_axes(
    model: onnx.ModelProto, operators: Collection[str], exclude: Sequence[str] = ()
) -> dict[str, int | None]:
    """The axis of the scales of every float32 constant that a MatMul, Gemm, Conv or ConvTranspose reads.

    Args:
        model: The float model.
        operators: Types of the nodes that are quantized.
        exclude: Names of nodes that stay float; what they read does not matter, they read numbers.

    Returns:
        An axis, or None where the readers do not agree on one: the constant then has one scale. Biases, whose scale
        follows from those of input and weight, are not among them.
    """
    import onnx

    ranks = {
        one.name: len(one.dims) for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT
    }
    left_out = set(exclude)
    wanted: dict[str, set[int | None]] = {}
    products: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in operators or node.name in left_out:
            continue
        for name, axis in _read(node, ranks):
            wanted.setdefault(name, set()).add(axis)
            if node.op_type in {"MatMul", *_BIASED}:
                products.add(name)
    return {
        name: next(iter(axes)) if len(axes) == 1 else None
        for name, axes in wanted.items()
        if name in products
    }


def _read(node: onnx.NodeProto, ranks: dict[str, int]) -> Iterator[tuple[str, int | None]]:
    """The constants that a node reads, and the axis along which it can have scales."""
    for index, name in enumerate(node.input):
        if name not in ranks or (index == _BIAS and node.op_type in _BIASED):
            continue
        yield name, _output_axis(node, ranks[name]) if index == _WEIGHT else None


def _output_axis(node: onnx.NodeProto, rank: int) -> int | None:
    """The axis of a weight's outputs."""
    if node.op_type == "MatMul":
        return 1 if rank == _MATRIX else None
    if node.op_type == "Gemm":
        return 0 if any(one.name == "transB" and one.i for one in node.attribute) else 1
    return _CONVOLUTIONS.get(node.op_type)
