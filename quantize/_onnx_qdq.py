"""Lets ONNX Runtime's quantizer place QuantizeLinear and DequantizeLinear pairs, at ranges computed elsewhere."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgepack.quantize._keep import read_float
from edgepack.quantize._onnx_axes import scale_axes
from edgepack.quantize._onnx_clips import clips_that_stay

if TYPE_CHECKING:
    import onnx

# Operators for which ONNX Runtime's CPU provider has int8 kernels, and those that only move values. Its quantizer
# would also put pairs around normalizations, which run in float all the same, on rounded values. Softmax stays float
# although there is a kernel, see `_FLOAT`.
Int8Op = Literal[
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "AveragePool", "GlobalAveragePool",
    "Clip", "Relu", "LeakyRelu", "Sigmoid", "Concat", "MaxPool", "ArgMax", "Where",
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Resize", "Split", "Pad", "Slice", "Gather",
]  # fmt: skip
INT8_OPS: tuple[Int8Op, ...] = get_args(Int8Op)

ACTIVATIONS = {"uint8": 8, "int8": 8, "uint16": 16, "int16": 16}
"""Types of activations, and their bits."""

_PRODUCTS = ("MatMul", "Gemm")
_FLOAT = ("Softmax",)
"""Operators that read unrounded values, so that ONNX Runtime does not fuse them with the pairs around them.

Its int8 Softmax over n values multiplies exponentials of up to max(float32) / (n e^5) by 1 / step of the result,
which is no finite number, and becomes 0, where 1 / step > n e^5 = 148.4 n (1.31.1). Of a result of 255 steps up to
the largest probability p of all samples, that is p < 1.72 / n: always at n = 1, as in the first step of a decoder
whose caches grow, and where attention is nearly even. The float kernel between the two conversions took 1.1 times the
fused one's time at n = 8, half of it at 32 and a fourth or less at 128 and 197.
"""
_WIDE_OPSET = 21  # from which the standard operators take 16 bits


def insert_pairs(
    model: onnx.ModelProto,
    found: Mapping[str, Any],
    activations: str,
    exclude: Sequence[str] = (),
    *,
    operators: Sequence[str] = INT8_OPS,
    symmetric: bool = False,
    per_channel: bool = True,
) -> onnx.ModelProto:
    """The model with pairs around its operators, weights int8.

    Args:
        model: The float model with weights in memory; it is used up.
        found: Lowest and highest value of every activation.
        activations: One of `ACTIVATIONS`. Of 16 bits, pairs are of ONNX Runtime's own domain below operator set 21.
        exclude: Names of nodes that stay float.
        operators: Types of those that get pairs.
        symmetric: Whether zero is in the middle of the activations' levels.
        per_channel: Whether every output channel of a weight has a scale of its own.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    types = {
        "uint8": QuantType.QUInt8,
        "int8": QuantType.QInt8,
        "uint16": QuantType.QUInt16,
        "int16": QuantType.QInt16,
    }
    found = clips_that_stay(model, found)
    version = next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
    axes = scale_axes(model, operators, exclude) if per_channel else {}
    overrides = {
        name: [{"quant_type": QuantType.QInt8, "symmetric": True} | ({} if axis is None else {"axis": axis})]
        for name, axis in axes.items()
    }
    quantizer = QDQQuantizer(
        model,
        per_channel=per_channel,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=types[activations],
        tensors_range=TensorsData(CalibrationMethod.MinMax, dict(found)),
        nodes_to_quantize=[],
        nodes_to_exclude=list(exclude),
        op_types_to_quantize=list(operators),
        extra_options={
            "ActivationSymmetric": symmetric,
            # A product whose result nothing computes with in int8 gives it as a float, unrounded.
            "OpTypesToExcludeOutputQuantization": [] if "Add" in operators else list(_PRODUCTS),
            "TensorQuantOverrides": overrides,
            "UseQDQContribOps": ACTIVATIONS[activations] > 8 and version < _WIDE_OPSET,  # noqa: PLR2004
        },
    )
    with quiet():
        quantizer.quantize_model()
    result: onnx.ModelProto = quantizer.model.model
    read_float(
        result,
        frozenset(name for node in result.graph.node if node.op_type in _FLOAT for name in node.output),
    )
    return result


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep ORT's quantizer from logging to the root logger: remarks on its own choices, one per tensor."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def fed_by_dequantize(
    model: onnx.ModelProto,
    before: set[str],
    operators: Sequence[str] = INT8_OPS,
    exclude: Sequence[str] = (),
) -> int:
    """How many of the original nodes, by name, of these operators now compute on dequantized inputs.

    Those that stay float may read what was rounded for others, and do not count.

    Not by output: that of a node which gives an output of the graph is renamed.
    """
    nodes = model.graph.node
    dequantized = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    return sum(
        1
        for node in nodes
        if node.op_type in operators
        and node.name in before
        and node.name not in exclude
        and dequantized.intersection(node.input)
    )
