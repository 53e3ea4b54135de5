"""GPTQ: rounds a weight row by row and lets the rows still to come make up for each rounding error.

With G = sum x^T x of the product's inputs and U the upper Cholesky factor of (G + d I)^-1, U^T U (Frantar et al.
2022, arXiv:2210.17323, algorithm 1), row i of W is rounded to q_i, and then for all rows j > i

    w_j <- w_j - (U_ij / U_ii) (w_i - q_i),        d = 0.01 mean(diag G)

Rows are inputs of the product. Scale and zero point of a block are fixed, from the rows as corrected so far, when
its first row is reached. Inputs that the samples never set are left as they are: nothing is known of them.

ONNX Runtime has a GPTQ too, which keeps the whole model in memory, runs all samples once for every tensor, and
rounds its result a second time on scales of its own; hence this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.quantize._onnx_blocks import packed

if TYPE_CHECKING:
    import numpy as np

    from edgepack.quantize._onnx_blocks import Blocks

_DAMPING = 0.01
_SMALL = 64


def gptq(weight: np.ndarray, gram: np.ndarray, bits: int, block: int) -> Blocks:
    """Symmetric blocks of a float32 weight [K, N].

    Args:
        weight: W.
        gram: G, [K, K], of any scale.
        bits: 4 or 8.
        block: Rows that share a scale.
    """
    import numpy as np

    inputs, outputs = weight.shape
    count = -(-inputs // block)
    half = 1 << (bits - 1)
    rest = np.zeros((count * block, outputs))
    rest[:inputs] = weight
    factor = _factor(gram)
    levels = np.full((count * block, outputs), half, np.uint8)
    scales = np.ones((count, outputs), np.float32)
    for start in range(0, inputs, block):
        stop = min(start + block, inputs)
        scale = _scale(rest[start:stop], half)
        scales[start // block] = scale
        errors = np.zeros((stop - start, outputs))
        for i in range(start, stop):
            level = np.clip(np.rint(rest[i] / scale), -half, half - 1)
            levels[i] = level + half
            errors[i - start] = (rest[i] - level * scale) / factor[i, i]
            rest[i + 1 : stop] -= np.outer(factor[i, i + 1 : stop], errors[i - start])
        rest[stop:inputs] -= factor[start:stop, stop:].T @ errors
    return packed(levels.T, scales.T, None, bits, block)


def _factor(gram: np.ndarray) -> np.ndarray:
    """U of the damped matrix; an unused input gets a diagonal of its own.

    A lower factor L of the matrix with its rows and columns reversed gives, reversed back, an upper R with
    A = R R^T, so U = R^-1: a third of the operations of inverting A and factoring the inverse.
    """
    import numpy as np

    damped = gram.astype(np.float64)
    diagonal = np.diagonal(damped).copy()
    mean = float(diagonal.mean()) or 1.0
    damped[np.diag_indices_from(damped)] += np.where(diagonal > 0, _DAMPING * mean, mean)
    return _inverse(np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1])


def _inverse(upper: np.ndarray) -> np.ndarray:
    """Of an upper triangular matrix [[A, B], [0, C]]: [[A^-1, -A^-1 B C^-1], [0, C^-1]], halved until it is small."""
    import numpy as np

    size = len(upper)
    if size <= _SMALL:
        return np.triu(np.linalg.inv(upper))
    half = size // 2
    found = np.zeros_like(upper)
    found[:half, :half] = _inverse(upper[:half, :half])
    found[half:, half:] = _inverse(upper[half:, half:])
    found[:half, half:] = -found[:half, :half] @ (upper[:half, half:] @ found[half:, half:])
    return found


def _scale(rows: np.ndarray, half: int) -> np.ndarray:
    """One scale an output, as float32: the value of the largest magnitude becomes -half."""
    import numpy as np

    low, high = rows.min(axis=0), rows.max(axis=0)
    peak = np.where(high > -low, high, low)
    scale: np.ndarray = np.where(peak == 0, 1, peak / -half).astype(np.float32)
    return scale
