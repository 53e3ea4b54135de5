"""Which version of an operator a runtime must know to run it.

The numbers are those of LiteRT's `tflite/tools/versioning/op_version.cc`: a version is raised when a kernel learns a
type or an option, and a runtime that is older refuses the file instead of computing nonsense.
"""

from __future__ import annotations

from collections.abc import Callable

from edgepack.targets.mobile._tflite.graph import Operator

_EIGHT = (
    "LOGISTIC TANH CONCATENATION SOFTMAX MEAN MIRROR_PAD REDUCE_MAX REDUCE_MIN RELU6 RSQRT PAD PADV2 PACK"
)
_EIGHT_ONLY = "SPACE_TO_DEPTH SPLIT_V SUM LOG_SOFTMAX GREATER LESS_EQUAL SQUARED_DIFFERENCE DEPTH_TO_SPACE"
_BY_TYPE: dict[str, dict[str, int]] = {
    **{code: {"int8": 2, "int16": 3} for code in _EIGHT.split()},
    "RELU": {"int8": 2, "uint8": 2, "int16": 3},
    "MAX_POOL_2D": {"int8": 2, "int16": 3},
    "AVERAGE_POOL_2D": {"int8": 2, "int16": 3},
    "BATCH_MATMUL": {"int8": 2, "int16": 3},
    "LESS": {"int8": 2, "int16": 3},
    "GREATER_EQUAL": {"int8": 2, "int16": 3},
    "EQUAL": {"int8": 2, "int16": 4},
    "NOT_EQUAL": {"int8": 2},
    "TILE": {"int8": 3},
    "GATHER": {"int8": 2, "bool": 3, "int16": 4},
    "GATHER_ND": {"int16": 3, "bool": 5},
    "SLICE": {"int8": 2, "int16": 4},
    "SPLIT": {},
    "UNPACK": {"int8": 2, "uint8": 2, "bool": 3, "int16": 4},
    "REVERSE_V2": {"bool": 2, "int8": 3},
    "RESIZE_BILINEAR": {"int8": 2, "int16": 4},
    "RESIZE_NEAREST_NEIGHBOR": {"int8": 2, "int16": 4},
    "MAXIMUM": {"int8": 2, "int16": 4},
    "MINIMUM": {"int8": 2, "int16": 4},
    "ABS": {"int8": 2, "uint8": 2, "int16": 3, "int32": 5},
    "SIGN": {"int32": 2},
    "ARG_MAX": {"int8": 2, "bool": 3},
    "ARG_MIN": {"int8": 2, "bool": 3},
    "EXP": {"int8": 2, "int16": 2},
    "LOG": {"int8": 2, "int16": 2},
    "REDUCE_PROD": {"int8": 2, "int16": 2},
    "TOPK_V2": {"int8": 2, "int16": 3},
    "FLOOR_DIV": {"float32": 2, "int8": 3, "int16": 3},
    "FLOOR_MOD": {"int8": 2, "int16": 2},
    "LEAKY_RELU": {"int16": 2},
    "BROADCAST_TO": {"float32": 2, "int32": 2, "int64": 2, "bool": 2, "int8": 3, "int16": 3},
    **{code: {"int8": 2} for code in _EIGHT_ONLY.split()},
}
_SPECIAL: dict[str, Callable[[Operator], int]] = {}


def version(operator: Operator) -> int:
    """The least version that has what this operator uses."""
    if operator.code in _SPECIAL:
        return _SPECIAL[operator.code](operator)
    return _BY_TYPE.get(operator.code, {}).get(_type(operator, 0), 1)


def _rule(*codes: str) -> Callable[[Callable[[Operator], int]], Callable[[Operator], int]]:
    def file(rule: Callable[[Operator], int]) -> Callable[[Operator], int]:
        for code in codes:
            _SPECIAL[code] = rule
        return rule

    return file


def _type(operator: Operator, index: int) -> str:
    tensor = operator.inputs[index] if index < len(operator.inputs) else None
    return "" if tensor is None else tensor.dtype


def _rank(operator: Operator, index: int = 0) -> int:
    tensor = operator.inputs[index]
    return 0 if tensor is None else len(tensor.shape)


@_rule("CONV_2D")
def _conv(op: Operator) -> int:
    data, weights = op.inputs[0], op.inputs[1]
    if data is not None and weights is not None and data.shape[-1] != weights.shape[-1]:
        return 6
    return {"int16": 4, "int8": 3}.get(_type(op, 0), 1) if _type(op, 1) != "int4" else 7


@_rule("DEPTHWISE_CONV_2D")
def _depthwise(op: Operator) -> int:
    if _type(op, 1) == "int4":
        return 7
    dilated = op.options.get("dilationWFactor", 1) != 1 or op.options.get("dilationHFactor", 1) != 1
    return {"int16": 5, "int8": 3}.get(_type(op, 0), 2 if dilated else 1)


@_rule("FULLY_CONNECTED")
def _fully_connected(op: Operator) -> int:
    kind, weights = _type(op, 0), _type(op, 1)
    if weights == "int4":
        return {"int16": 13, "int8": 10}.get(kind, 9)
    if kind == "int16":
        return 11 if op.options.get("quantizedBiasType") else 7
    if len(op.inputs) == 2 or op.inputs[2] is None:  # noqa: PLR2004 - without a bias
        return 6
    if op.options.get("keepNumDims"):
        return 5
    return 4 if kind == "int8" else 1


@_rule("TRANSPOSE_CONV")
def _transpose_conv(op: Operator) -> int:
    if len(op.inputs) > 3 and op.inputs[3] is not None:  # noqa: PLR2004 - with a bias
        return 5 if _type(op, 2) == "int16" else 3
    return 2 if _type(op, 1) == "int8" else 1


@_rule("TRANSPOSE")
def _transpose(op: Operator) -> int:
    if _rank(op) > 5:  # noqa: PLR2004 - dimensions
        return 6
    if _type(op, 0) == "int16":
        return 5
    if _rank(op) > 4:  # noqa: PLR2004 - dimensions
        return 4
    return {"bool": 3, "int8": 2}.get(_type(op, 0), 1)


@_rule("MUL")
def _mul(op: Operator) -> int:
    first, second = (tensor.quantization if tensor else None for tensor in op.inputs[:2])
    made = op.outputs[0].quantization
    if _type(op, 0) == "int16":
        return 4
    if first and second and made and first.scale * second.scale / made.scale >= 1.0:
        return 3
    return 2 if _type(op, 0) == "int8" else 1


@_rule("ADD")
def _add(op: Operator) -> int:
    return {"int8": 2, "int16": 3}.get(_type(op, 0), 1)


@_rule("SUB")
def _sub(op: Operator) -> int:
    wide = max(_rank(op, 0), _rank(op, 1)) > 4  # noqa: PLR2004 - dimensions
    return {"int8": 3 if wide else 2, "int16": 5}.get(_type(op, 0), 3 if wide else 1)


@_rule("DIV")
def _div(op: Operator) -> int:
    return 2 if max(_rank(op, 0), _rank(op, 1)) > 4 else 1  # noqa: PLR2004 - dimensions


@_rule("SPLIT")
def _split(op: Operator) -> int:
    return {"int16": 4, "int32": 3, "int8": 2}.get(_type(op, 1), 1)


@_rule("STRIDED_SLICE")
def _strided_slice(op: Operator) -> int:
    if _rank(op) > 4:  # noqa: PLR2004 - dimensions
        return 4
    return {"bool": 3, "int8": 2}.get(_type(op, 0), 1)


@_rule("QUANTIZE")
def _quantize(op: Operator) -> int:
    made = op.outputs[0]
    if made.quantization is not None and not made.quantization.per_tensor:
        return 3
    return 2 if made.dtype == "int16" else 1


@_rule("DEQUANTIZE")
def _dequantize(op: Operator) -> int:
    kind = _type(op, 0)
    given = op.inputs[0].quantization if op.inputs[0] is not None else None
    if kind == "int8" and given is not None and not given.per_tensor:
        return 5
    return {"int4": 6, "int16": 3, "float16": 3, "int8": 2}.get(kind, 1)


@_rule("EMBEDDING_LOOKUP")
def _embedding_lookup(op: Operator) -> int:
    return 4 if _type(op, 1) == "int4" else 1
