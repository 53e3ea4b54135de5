"""How TFLite's integers stand for real numbers.

    real = scale (q - zero_point)

TFLite's quantization specification (https://ai.google.dev/edge/litert/models/quantization_spec) has activations in
int8 with any zero point, or in int16 with zero point 0, one scale a tensor; weights in int8 (or int4) with zero point
0, one scale a tensor or one for each index along one axis; biases in int32 (int64 beside int16 activations), with
zero point 0 and the scale

    scale_bias = scale_input scale_weight.

ONNX has unsigned activations too. Taking 2^(bits-1) from both the integers and the zero point leaves the real numbers
what they are, so that uint8 with zero point z is int8 with z - 128.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LIMITS = {"int4": (-8, 7), "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
"""Smallest and largest integer by dtype."""

SIGNED = {"uint8": ("int8", 128), "uint16": ("int16", 32768), "uint4": ("int4", 8)}
"""The signed dtype that stands in for an unsigned one, and what is taken from its integers."""


@dataclass(frozen=True, eq=False)
class Quantization:
    """Parameters of one tensor.

    Attributes:
        scales: float32 [1], or one for each index along `axis`.
        zero_points: int64, as many.
        axis: The quantized dimension; of no meaning when there is one scale.
    """

    scales: np.ndarray
    zero_points: np.ndarray
    axis: int = 0

    @property
    def scale(self) -> float:
        """The scale of a tensor that has one."""
        return float(self.scales[0])

    @property
    def zero_point(self) -> int:
        """The zero point of a tensor that has one."""
        return int(self.zero_points[0])

    @property
    def per_tensor(self) -> bool:
        """Whether one scale holds for the whole tensor."""
        return len(self.scales) == 1

    @property
    def symmetric(self) -> bool:
        """Whether every zero point is 0."""
        return not self.zero_points.any()

    def same(self, other: Quantization | None) -> bool:
        """Whether equal integers mean equal numbers under both."""
        return (
            other is not None
            and np.array_equal(self.scales, other.scales)
            and np.array_equal(self.zero_points, other.zero_points)
            and (self.per_tensor or self.axis == other.axis)
        )

    def real(self, values: np.ndarray) -> np.ndarray:
        """The float32 numbers that integers stand for."""
        shape = [1] * values.ndim
        if not self.per_tensor:
            shape[self.axis] = -1
        centred = values.astype(np.float32) - self.zero_points.astype(np.float32).reshape(shape)
        result: np.ndarray = centred * self.scales.reshape(shape)
        return result

    def integers(self, real: np.ndarray, dtype: str) -> np.ndarray:
        """The integers nearest to float32 numbers, ties to even; int4 lies one a byte."""
        shape = [1] * real.ndim
        if not self.per_tensor:
            shape[self.axis] = -1
        rounded = np.rint(real.astype(np.float32) / self.scales.reshape(shape)) + self.zero_points.reshape(
            shape
        )
        kind = np.dtype("int8" if dtype == "int4" else dtype)
        result: np.ndarray = np.clip(rounded, *LIMITS[dtype]).astype(kind)
        return result


def per_tensor(scale: float, zero_point: int = 0) -> Quantization:
    """One scale and zero point for a whole tensor."""
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64))
