"""Symmetric int8 weights, one scale per channel, quantized one weight at a time while a model is written.

For a channel with values w (Jacob et al. 2018, arXiv:1712.05877, symmetric form):

    scale = max |w| / 127        q = clip(round(w / scale), -127, 127)        w ~ scale * q

Only the scales are computed at once; the int8 values are a recipe that `storage.save` evaluates tensor by
tensor, so that memory holds one weight, not a model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

LEVELS = 127

Adjust = Callable[["np.ndarray"], "np.ndarray"]


def quantized(
    tensor: ir.TensorProtocol, axis: int, adjust: Adjust, name: str
) -> tuple[ir.LazyTensor, np.ndarray]:
    """The int8 form of a weight and its scales.

    Args:
        tensor: The float weight.
        axis: The axis (of the adjusted array) along which every index has a scale of its own.
        adjust: What to do to the float array first (transpose, scale rows); its result has the shape of
            the int8 tensor. Called whenever the values are needed.
        name: Name of the int8 tensor.

    Returns:
        The lazily evaluated int8 tensor, and float32 scales of shape [size of `axis`].
    """
    import onnx_ir as ir

    values = adjust(array(tensor))
    scales = channel_scales(values, axis)
    shape = values.shape
    del values

    def compute() -> ir.TensorProtocol:
        return ir.Tensor(to_int8(adjust(array(tensor)), scales, axis), name=name)

    return ir.LazyTensor(compute, dtype=ir.DataType.INT8, shape=ir.Shape(shape), name=name), scales


def channel_scales(values: np.ndarray, axis: int) -> np.ndarray:
    """One positive float32 scale per index of `axis`; a channel of zeros gets 1."""
    import numpy as np

    others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    peak = np.maximum(values.max(axis=others), -values.min(axis=others)).astype(np.float32)
    scales: np.ndarray = np.where(peak > 0, peak / np.float32(LEVELS), 1).astype(np.float32)
    return scales


def to_int8(values: np.ndarray, scales: np.ndarray, axis: int) -> np.ndarray:
    """Quantize with the scales of `channel_scales`."""
    import numpy as np

    shape = [1] * values.ndim
    shape[axis] = -1
    levels = np.divide(values, scales.reshape(shape), dtype=np.float32)
    np.rint(levels, out=levels)
    np.clip(levels, -LEVELS, LEVELS, out=levels)
    result: np.ndarray = levels.astype(np.int8)
    return result
