"""Blockwise 4- and 8-bit weights, in the layout of ONNX Runtime's MatMulNBits.

A block is a run of weights of one output channel; each has a scale s and a zero point z of its own, n = 2^bits:

    q = clip(round(w / s + z), 0, n - 1)        w ~ s (q - z)

- symmetric: s = -m / (n / 2), m the value of the largest magnitude with its sign, z = n / 2 and not stored;
- asymmetric: s = (max - min) / (n - 1), z = round(-min / s), the range widened to hold 0;
- HQQ (Badri and Shaji 2023, https://mobiusml.github.io/hqq_blog/): z is a float, found by half-quadratic
  splitting so that the 0.7-norm of the error, which forgives outliers, is small.

Round to nearest and HQQ are ONNX Runtime's own functions, called weight by weight.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BITS = (4, 8)
MIN_BLOCK = 16  # ONNX Runtime takes powers of two from here on


@dataclass(frozen=True)
class Blocks:
    """A quantized weight [inputs K, outputs N].

    Attributes:
        levels: q, packed, uint8 [N, blocks, block * bits / 8]; of two 4-bit levels the first is in the low half.
        scales: s, float32 [N, blocks].
        zeros: z; float32 [N, blocks], or packed uint8 [N, ceil(blocks * bits / 8)], or None for n / 2.
    """

    levels: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray | None


def nearest(weight: np.ndarray, bits: int, block: int, *, symmetric: bool) -> Blocks:
    """Round a float32 weight [K, N] to nearest."""
    import numpy as np

    with _root_logger_kept():
        from onnxruntime.quantization.matmul_nbits_quantizer import (
            DefaultWeightOnlyQuantConfig,
            DefaultWeightOnlyQuantizer,
        )

        config = DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=symmetric, bits=bits)
    levels, scales, zeros = DefaultWeightOnlyQuantizer(config).qbits_block_quant(np.ascontiguousarray(weight))
    return Blocks(levels, scales, None if symmetric else zeros)


def half_quadratic(weight: np.ndarray, block: int) -> Blocks:
    """4-bit HQQ of a float32 weight [K, N]; zero points are floats, which ONNX Runtime takes with 4 bits only."""
    import torch

    with _root_logger_kept():
        from onnxruntime.quantization.matmul_nbits_quantizer import (
            HQQWeightOnlyQuantConfig,
            HQQWeightOnlyQuantizer,
        )

        quantizer = HQQWeightOnlyQuantizer(HQQWeightOnlyQuantConfig(block_size=block, bits=4))
    levels, scales, zeros = quantizer.quantize_internal(
        torch.from_numpy(weight.T.copy()), bits=4, group_size=block
    )
    return packed(levels.numpy(), scales.numpy(), zeros.numpy(), 4, block)


def packed(levels: np.ndarray, scales: np.ndarray, zeros: np.ndarray | None, bits: int, block: int) -> Blocks:
    """Blocks from levels [N, blocks * block] and float zero points [N, blocks] (None: n / 2)."""
    import numpy as np

    small: np.ndarray = levels.astype(np.uint8)
    if bits == 4:  # noqa: PLR2004 - two in a byte
        small = small[:, 0::2] | (small[:, 1::2] << 4)
    outputs = len(small)
    return Blocks(
        np.ascontiguousarray(small.reshape(outputs, -1, block * bits // 8)),
        scales.astype(np.float32),
        None if zeros is None else zeros.astype(np.float32),
    )


def dequantized(blocks: Blocks, inputs: int, bits: int) -> np.ndarray:
    """The float32 weight [K, N] that the runtime computes with."""
    import numpy as np

    outputs, count = blocks.scales.shape
    levels = _unpacked(blocks.levels.reshape(outputs, -1), bits).reshape(outputs, count, -1)
    if blocks.zeros is None:
        zeros: np.ndarray = np.float32(1 << (bits - 1)).reshape(1, 1)
    elif blocks.zeros.dtype == np.uint8:
        zeros = _unpacked(blocks.zeros.reshape(outputs, -1), bits)[:, :count]
    else:
        zeros = blocks.zeros
    values = (levels.astype(np.float32) - zeros[:, :, None]) * blocks.scales[:, :, None]
    result: np.ndarray = values.reshape(outputs, -1)[:, :inputs].T
    return result


def _unpacked(values: np.ndarray, bits: int) -> np.ndarray:
    import numpy as np

    if bits == 8:  # noqa: PLR2004 - one in a byte
        return values
    return np.stack([values & 15, values >> 4], axis=-1).reshape(len(values), -1)


@contextlib.contextmanager
def _root_logger_kept() -> Iterator[None]:
    """ONNX Runtime's module configures the root logger when it is imported."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
