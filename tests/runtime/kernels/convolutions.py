"""Binary convolutions as ONNX files, and what they compute, in integers of numpy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepack.runtime.kernels import DOMAIN, VERSION, functions


@dataclass(frozen=True)
class BinaryConvolution:
    """Weights as bits [N, kh, kw, K] (1 is -1); alpha and bias [N]; shift [C], [1] or None."""

    bits: np.ndarray
    alpha: np.ndarray
    bias: np.ndarray
    shift: np.ndarray | None = None
    group: int = 1
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    changes: dict[str, object] = field(default_factory=dict)  # attributes as they should not be

    def inputs(self) -> dict[str, np.ndarray]:
        packed = np.packbits(self.bits, axis=-1, bitorder="little")
        given = {"weights": packed, "alpha": self.alpha, "bias": self.bias}
        return given if self.shift is None else {**given, "shift": self.shift}

    def model(self, *, fallback: bool = False, **inputs: np.ndarray) -> onnx.ModelProto:
        constants = {**self.inputs(), **inputs}
        attributes = {
            "K": self.bits.shape[-1],
            "group": self.group,
            "strides": self.strides,
            "dilations": self.dilations,
            "pads": self.pads,
            **self.changes,
        }
        kept = {name: value for name, value in attributes.items() if value is not None}
        node = helper.make_node("BinConv", ["x", *constants], ["y"], name="layer", domain=DOMAIN, **kept)
        graph = helper.make_graph(
            [node],
            "one-layer",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * 4)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        opsets = [helper.make_opsetid("", functions.OPSET), helper.make_opsetid(DOMAIN, VERSION)]
        made = [functions.bin_conv()] if fallback else []
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=made)

    def expected(self, x: np.ndarray) -> np.ndarray:
        """Signs, zeros around them, and one sum a tap."""
        n, kernel_height, kernel_width, k = self.bits.shape
        shift = np.zeros(1, np.float32) if self.shift is None else self.shift
        with np.errstate(invalid="ignore"):
            signs = np.where(x + shift[:, None, None] < 0, -1, 1).astype(np.int64)
        top, left, bottom, right = self.pads
        padded = np.pad(signs, [(0, 0), (0, 0), (top, bottom), (left, right)])
        height = (padded.shape[2] - self.dilations[0] * (kernel_height - 1) - 1) // self.strides[0] + 1
        width = (padded.shape[3] - self.dilations[1] * (kernel_width - 1) - 1) // self.strides[1] + 1
        weights = 1 - 2 * self.bits.astype(np.int64)
        sums = np.zeros((x.shape[0], n, height, width), np.int64)
        for group in range(self.group):
            of = slice(group * n // self.group, (group + 1) * n // self.group)
            for a in range(kernel_height):
                for b in range(kernel_width):
                    y, z = a * self.dilations[0], b * self.dilations[1]
                    seen = padded[
                        :,
                        group * k : (group + 1) * k,
                        y : y + (height - 1) * self.strides[0] + 1 : self.strides[0],
                        z : z + (width - 1) * self.strides[1] + 1 : self.strides[1],
                    ]
                    sums[:, of] += np.einsum("bchw,nc->bnhw", seen, weights[of, a, b])
        return sums.astype(np.float32) * self.alpha[:, None, None] + self.bias[:, None, None]


def random_convolution(
    rng: np.random.Generator, n: int, k: int, kernel: tuple[int, int] = (3, 3), **options: object
) -> BinaryConvolution:
    """With weights, scales and a shift a channel."""
    group = int(options.get("group", 1))  # type: ignore[call-overload]
    return BinaryConvolution(
        rng.integers(0, 2, (n, *kernel, k)).astype(np.uint8),
        rng.standard_normal(n).astype(np.float32),
        rng.standard_normal(n).astype(np.float32),
        rng.standard_normal(k * group).astype(np.float32),
        **options,  # type: ignore[arg-type]
    )
