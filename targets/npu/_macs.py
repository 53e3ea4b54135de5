"""How much of a model's arithmetic an NPU does: the share of multiply-accumulate operations that are placed on it.

    share = 1 - sum over operators on the CPU of macs / sum over all operators of macs

Counted on the model that was compiled, before the compiler fused anything: convolutions and products of matrices, by
the shapes of their inputs and outputs (|x| the number of elements of x):

    Conv           w [out, in / groups, ...]        |y| |w| / out
    ConvTranspose  w [in, out / groups, ...]        |x| |w| / in
    MatMul, Gemm   [.., m, k] x [.., k, n]          |y| k
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain import tflite
from edgepack.toolchain.results import Measurement, Placement, Tool

NAME = "macs on the npu"


def of_tflite(model: Any, placement: Placement, tool: Tool) -> tuple[Measurement, ...]:
    """The share for a TFLite model, or nothing where it has no product.

    Args:
        model: As `tflite.read` gives it: what the compiler was given.
        placement: Its reasons name every operator on the CPU by its first output.
        tool: The compiler.
    """
    return _share({operator.name: operator.macs for operator in tflite.operators(model)}, placement, tool)


def of_onnx(path: Path, placement: Placement, tool: Tool) -> tuple[Measurement, ...]:
    """The share for an ONNX file of static shapes; nothing where it has no product, or a CPU node's size is not known.

    Args:
        path: What the compiler was given.
        placement: Its reasons name every node on the CPU.
        tool: The compiler.
    """
    counts = onnx_macs(path)
    if any(reason.op in _PRODUCTS and reason.node not in counts for reason in placement.reasons):
        return ()  # a node of the runtime's own making: what it multiplies is not known
    return _share(counts, placement, tool)


def onnx_macs(path: Path) -> dict[str, int]:
    """Multiply-accumulates of every convolution and product whose shapes are known, by the node's name."""
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type in _CONVERSIONS and node.domain == _RUNTIME_DOMAIN:
            # onnx infers nothing behind pairs of 16 bits in ONNX Runtime's own domain; they change no shape
            node.op_type, node.domain = "Identity", ""
            del node.input[1:], node.attribute[:]
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
    shapes: dict[str, list[int]] = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes.setdefault(value.name, [dim.dim_value for dim in dims])
    found = {}
    for node in graph.node:
        names = [*node.input[:2], *node.output[:1]]
        if node.op_type in _PRODUCTS and all(name in shapes for name in names):
            turned = any(a.name == "transA" and a.i for a in node.attribute)
            found[node.name] = _macs(node.op_type, *(shapes[name] for name in names), turned=turned)
    return found


_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_RUNTIME_DOMAIN = "com.microsoft"
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})


def _macs(op: str, first: list[int], second: list[int], out: list[int], *, turned: bool) -> int:
    if op == "Conv":
        return math.prod(out) * math.prod(second[1:])
    if op == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    return math.prod(out) * first[-2 if turned else -1]


def _share(counts: Mapping[str, int], placement: Placement, tool: Tool) -> tuple[Measurement, ...]:
    total = sum(counts.values())
    if not total:
        return ()
    away = _sum(counts, {reason.node for reason in placement.reasons})
    return (Measurement(name=NAME, value=1 - away / total, unit="share", kind="counted", tool=tool),)


def _sum(counts: Mapping[str, int], names: Iterable[str]) -> int:
    return sum(counts.get(name, 0) for name in names)
