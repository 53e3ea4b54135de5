"""ONNX's dtypes in TFLite.

LiteRT's fast kernels index with int32, and its converters narrow int64 everywhere; so does this one, and refuses
constants that do not fit (but for bounds such as 2^63 - 1, which mean "to the end"). float16 and bfloat16 are computed
in float32, which holds all their values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepack.targets.mobile._tflite.base import NotServed
from edgepack.targets.mobile._tflite.graph import Values
from edgepack.toolchain.passes.weights import array, is_large, same_place

if TYPE_CHECKING:
    import onnx_ir as ir

NARROWED = {"int64": "int32", "float16": "float32", "bfloat16": "float32", "uint32": "uint32"}
SERVED = frozenset(
    {"float32", "int32", "int16", "int8", "uint8", "bool", "int4", "uint4", "int64", "float16", "bfloat16", "uint16",
     "uint32"}
)  # fmt: skip
_INT32 = np.iinfo(np.int32)
_ENDLESS = 2.0**62


def name(dtype: ir.DataType | None) -> str | None:
    """ONNX's dtype by numpy's name; None when it is unknown or TFLite has nothing for it."""
    if dtype is None:
        return None
    found = {"float": "float32", "double": "float64"}.get(dtype.name.lower(), dtype.name.lower())
    return found if found in SERVED else None


def narrowed(dtype: str) -> str:
    """What TFLite computes in."""
    return NARROWED.get(dtype, dtype)


def _narrow(raw: np.ndarray, label: str) -> np.ndarray:
    """Integers within 32 bits; those beyond 62, which only say "as far as it goes", become the largest there are."""
    beyond = (raw < _INT32.min) | (raw > _INT32.max)
    if (beyond & (np.abs(raw.astype(np.float64)) < _ENDLESS)).any():
        raise NotServed(
            "A constant holds integers beyond 32 bits, which is all that TFLite's operators index with",
            where=f"constant '{label}'",
            todo="Use smaller numbers, or --target cpu:onnxruntime",
        )
    narrow: np.ndarray = np.clip(raw, _INT32.min, _INT32.max)
    return narrow


def values(tensor: ir.TensorProtocol) -> Values | None:
    """A weight's values, narrowed, read when they are asked for; None for a dtype that TFLite lacks."""
    dtype = name(tensor.dtype)
    if dtype is None:
        return None
    shape = tuple(int(n) for n in tensor.shape.numpy())
    target = narrowed(dtype)

    def read() -> np.ndarray:
        raw = np.asarray(array(tensor)).reshape(shape)
        if dtype in {"int4", "uint4"}:
            return raw.astype(np.int8 if dtype == "int4" else np.uint8)
        if target == dtype:
            return raw
        if dtype == "int64":
            raw = _narrow(raw, tensor.name or "")
        return raw.astype(target)

    key = ("stored", *same_place(tensor), dtype) if is_large(tensor) else None
    if key is None:
        small = read()
        key = (target, shape, small.tobytes())
        return Values(shape, target, lambda: small, key)
    return Values(shape, target, read, key)
