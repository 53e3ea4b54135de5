"""Which options table of the schema an operator has, and what stands in it when nothing is said.

Enumerations are given by name ("SAME", "RELU"). An operator that is not in the table has no options, or needs none.
"""

from __future__ import annotations

from typing import Any

_PLAIN = {
    "ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "CONV_2D": "Conv2D", "CONV_3D": "Conv3D",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "TRANSPOSE_CONV": "TransposeConv", "AVERAGE_POOL_2D": "Pool2D",
    "MAX_POOL_2D": "Pool2D", "L2_POOL_2D": "Pool2D", "FULLY_CONNECTED": "FullyConnected",
    "BATCH_MATMUL": "BatchMatMul", "SOFTMAX": "Softmax", "LOG_SOFTMAX": "LogSoftmax",
    "CONCATENATION": "Concatenation", "RESHAPE": "Reshape", "TRANSPOSE": "Transpose", "GATHER": "Gather",
    "GATHER_ND": "GatherNd", "MEAN": "Reducer", "SUM": "Reducer", "REDUCE_MAX": "Reducer", "REDUCE_MIN": "Reducer",
    "REDUCE_PROD": "Reducer", "REDUCE_ANY": "Reducer", "REDUCE_ALL": "Reducer", "STRIDED_SLICE": "StridedSlice",
    "SLICE": "Slice", "SPLIT": "Split", "SPLIT_V": "SplitV", "PACK": "Pack", "UNPACK": "Unpack", "CAST": "Cast",
    "GELU": "Gelu", "LEAKY_RELU": "LeakyRelu", "PAD": "Pad", "PADV2": "PadV2", "MIRROR_PAD": "MirrorPad",
    "RESIZE_BILINEAR": "ResizeBilinear", "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighbor",
    "DEPTH_TO_SPACE": "DepthToSpace", "SPACE_TO_DEPTH": "SpaceToDepth", "ARG_MAX": "ArgMax", "ARG_MIN": "ArgMin",
    "MAXIMUM": "MaximumMinimum", "MINIMUM": "MaximumMinimum", "SELECT_V2": "SelectV2", "TILE": "Tile",
    "BROADCAST_TO": "BroadcastTo", "CUMSUM": "Cumsum", "TOPK_V2": "TopKV2", "ONE_HOT": "OneHot",
    "LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalization", "SQUARED_DIFFERENCE": "SquaredDifference",
    "EMBEDDING_LOOKUP": "", "QUANTIZE": "Quantize", "DEQUANTIZE": "Dequantize", "SHAPE": "Shape",
    "EXPAND_DIMS": "ExpandDims", "SQUEEZE": "Squeeze", "FLOOR_DIV": "FloorDiv", "FLOOR_MOD": "FloorMod",
    "POW": "Pow", "EXP": "Exp", "NEG": "Neg", "ABS": "Abs", "SQUARE": "Square", "COS": "Cos", "EQUAL": "Equal",
    "NOT_EQUAL": "NotEqual", "LESS": "Less", "LESS_EQUAL": "LessEqual", "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterEqual", "LOGICAL_AND": "LogicalAnd", "LOGICAL_OR": "LogicalOr",
    "LOGICAL_NOT": "LogicalNot", "REVERSE_V2": "ReverseV2", "SCATTER_ND": "ScatterNd", "RANGE": "Range",
    "FILL": "Fill", "HARD_SWISH": "HardSwish", "SIGN": "Sign", "WHERE": "Where", "REVERSE_SEQUENCE": "ReverseSequence",
    "MATRIX_DIAG": "MatrixDiag", "BITWISE_XOR": "BitwiseXor", "RIGHT_SHIFT": "RightShift", "ATAN2": "ATan2",
    "DYNAMIC_UPDATE_SLICE": "DynamicUpdateSlice",
}  # fmt: skip
SECOND_UNION = frozenset({"BITWISE_XOR", "RIGHT_SHIFT", "DILATE", "REDUCE_WINDOW"})
"""Operators whose options lie in the schema's second union."""
ACTIVATED = frozenset(
    {"ADD", "SUB", "MUL", "DIV", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "AVERAGE_POOL_2D", "MAX_POOL_2D"}
)  # fmt: skip
"""Operators that can apply a fused activation."""

_ENUMERATIONS = {
    "padding": "Padding",
    "fusedActivationFunction": "ActivationFunctionType",
    "mode": "MirrorPadMode",
    "inDataType": "TensorType",
    "outDataType": "TensorType",
    "outputType": "TensorType",
    "outType": "TensorType",
    "quantizedBiasType": "TensorType",
}


def table(code: str) -> str:
    """Name of the options table of an operator, "" for none."""
    name = _PLAIN.get(code, "")
    return f"{name}Options" if name else ""


def build(code: str, given: dict[str, Any]) -> Any:
    """The schema's object of an operator's options, None where it has none."""
    from ai_edge_litert import schema_py_generated as schema

    name = table(code)
    if not name:
        return None
    options = getattr(schema, f"{name}T")()
    for key, value in given.items():
        if not hasattr(options, key):
            msg = f"{name} has no field {key}"
            raise AttributeError(msg)
        if isinstance(value, str):
            value = getattr(getattr(schema, _ENUMERATIONS[key]), value)  # noqa: PLW2901 - the same by number
        setattr(options, key, value)
    return options
