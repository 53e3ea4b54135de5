"""The operators in plain numpy, written from their definition alone, and as nodes for onnx.reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun


def signs(values: np.ndarray) -> np.ndarray:
    return np.array([-1 if value < 0 else 1 for value in values.ravel()]).reshape(values.shape)


def bits(packed: np.ndarray, count: int) -> np.ndarray:
    """[..., bytes] to [..., count] of +1 and -1."""
    rows = packed.reshape(-1, packed.shape[-1])
    out = [[-1 if row[k // 8] >> (k % 8) & 1 else 1 for k in range(count)] for row in rows]
    return np.array(out).reshape(*packed.shape[:-1], count)


def bin_linear(x, packed, alpha, bias, shift, count):
    s = signs(x if shift is None else x + shift)
    return (s @ bits(packed, count).T * alpha.astype(np.float64) + bias).astype(np.float32)


def bin_conv(x, packed, alpha, bias, shift, channels, strides, pads, group):
    outputs, height, width, _ = packed.shape
    weight = bits(packed, channels).astype(np.float64)
    s = signs(x if shift is None else x + shift[:, None, None])
    s = np.pad(s, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    rows, columns = (s.shape[2] - height) // strides[0] + 1, (s.shape[3] - width) // strides[1] + 1
    y = np.empty((len(x), outputs, rows, columns))
    for n in range(outputs):
        first = n // (outputs // group) * channels
        for i in range(rows):
            for j in range(columns):
                top, left = i * strides[0], j * strides[1]
                window = s[:, first : first + channels, top : top + height, left : left + width]
                y[:, n, i, j] = (window.transpose(0, 2, 3, 1) * weight[n]).sum((1, 2, 3))
    return (y * alpha[:, None, None].astype(np.float64) + bias[:, None, None]).astype(np.float32)


class BinLinear(OpRun):
    op_domain = "edgepack"

    def _run(self, x, packed, alpha, bias, shift=None, K: Any = None):  # noqa: N803 - the attribute's name
        return (bin_linear(x, packed, alpha, bias, shift, K),)


class BinConv(OpRun):
    op_domain = "edgepack"

    def _run(
        self,
        x,
        packed,
        alpha,
        bias,
        shift=None,
        K: Any = None,  # noqa: N803 - the attribute's name
        group: Any = None,
        dilations: Any = None,
        pads: Any = None,
        strides: Any = None,
    ):
        assert list(dilations) == [1, 1]
        return (bin_conv(x, packed, alpha, bias, shift, K, strides, pads, group),)
