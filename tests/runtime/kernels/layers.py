"""Binary linear layers as ONNX files, and what they compute, in integers of numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepack.runtime.kernels import DOMAIN, VERSION, functions


@dataclass(frozen=True)
class BinaryLayer:
    """Weights as bits [N, K] (1 is -1); alpha and bias [N]; shift [K], [1] or None."""

    bits: np.ndarray
    alpha: np.ndarray
    bias: np.ndarray
    shift: np.ndarray | None

    @classmethod
    def random(cls, rng: np.random.Generator, n: int, k: int, shift: str | None = "channels") -> BinaryLayer:
        values = {
            "channels": rng.standard_normal(k).astype(np.float32),
            "one": rng.standard_normal(1).astype(np.float32),
            "zero": np.zeros(1, np.float32),
        }
        return cls(
            rng.integers(0, 2, (n, k)).astype(np.uint8),
            rng.standard_normal(n).astype(np.float32),
            rng.standard_normal(n).astype(np.float32),
            values[shift] if shift else None,
        )

    def inputs(self) -> dict[str, np.ndarray]:
        packed = np.packbits(self.bits, axis=1, bitorder="little")
        given = {"weights": packed, "alpha": self.alpha, "bias": self.bias}
        return given if self.shift is None else {**given, "shift": self.shift}

    def model(self, **options: bool) -> onnx.ModelProto:
        return model_of(self.inputs(), self.bits.shape[1], **options)

    def expected(self, x: np.ndarray) -> np.ndarray:
        shift = np.float32(0) if self.shift is None else self.shift
        with np.errstate(invalid="ignore"):
            signs = np.where(x + shift < 0, -1, 1).astype(np.int64)
        dots = signs @ (1 - 2 * self.bits.astype(np.int64)).T
        return dots.astype(np.float32) * self.alpha + self.bias


def model_of(
    inputs: dict[str, np.ndarray],
    k: int | None,
    *,
    rank: int = 2,
    fallback: bool = False,
    constant: bool = True,
    **attributes: object,
) -> onnx.ModelProto:
    """One node BinLinear on x, with the other inputs as given, however wrong they are."""
    if k is not None:
        attributes["K"] = k
    node = helper.make_node("BinLinear", ["x", *inputs], ["y"], name="layer", domain=DOMAIN, **attributes)
    free = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    graph = helper.make_graph(
        [node],
        "one-layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * rank), *([] if constant else free)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(value, name) for name, value in inputs.items()] if constant else [],
    )
    opsets = [helper.make_opsetid("", functions.OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    made = [functions.bin_linear()] if fallback else []
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=made)
