"""The operators whose activations are bits, as ONNX files of one node, and what they compute in integers of numpy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepack.runtime.kernels import DOMAIN, VERSION, functions
from tests.runtime.kernels.convolutions import BinaryConvolution, random_convolution
from tests.runtime.kernels.layers import BinaryLayer

FORMS = {"Pack": (False, True), "Bits": (True, True), "Unpack": (True, False)}
"""From a form to whether bits come in, and whether they come out."""


@dataclass(frozen=True)
class Chained:
    """A layer in one form.

    Attributes:
        layer: Weights, and alpha, bias and shift where the form has them.
        form: One of FORMS.
        low: int32 [N], where bits come out.
        high: The same.
    """

    layer: BinaryLayer | BinaryConvolution
    form: str
    low: np.ndarray
    high: np.ndarray

    @property
    def axis(self) -> int:
        """Of channels."""
        return 1 if isinstance(self.layer, BinaryConvolution) else -1

    @property
    def channels(self) -> int:
        """That come in."""
        group = self.layer.group if isinstance(self.layer, BinaryConvolution) else 1
        return self.layer.bits.shape[-1] * group

    def inputs(self) -> dict[str, np.ndarray]:
        """All but x."""
        bits_in, bits_out = FORMS[self.form]
        given = self.layer.inputs()
        if bits_out:
            given = {
                "weights": given["weights"], "low": self.low, "high": self.high,
                **{name: value for name, value in given.items() if name == "shift"},
            }  # fmt: skip
        return {name: value for name, value in given.items() if not (bits_in and name == "shift")}

    def attributes(self) -> dict[str, object]:
        made: dict[str, object] = {"K": self.layer.bits.shape[-1]}
        if isinstance(self.layer, BinaryConvolution):
            names = ("group", "strides", "dilations", "pads")
            made.update({name: getattr(self.layer, name) for name in names})
        return made

    @property
    def operator(self) -> str:
        return ("BinConv" if isinstance(self.layer, BinaryConvolution) else "BinLinear") + self.form

    def model(self, *, fallback: bool = False, rank: int = 2) -> onnx.ModelProto:
        constants = self.inputs()
        shape = [None] * (4 if self.axis == 1 else rank)
        node = helper.make_node(
            self.operator, ["x", *constants], ["y"], name="layer", domain=DOMAIN, **self.attributes()
        )
        kinds = [TensorProto.UINT8 if bits else TensorProto.FLOAT for bits in FORMS[self.form]]
        graph = helper.make_graph(
            [node],
            "one-layer",
            [helper.make_tensor_value_info("x", kinds[0], shape)],
            [helper.make_tensor_value_info("y", kinds[1], shape)],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        opsets = [helper.make_opsetid("", functions.OPSET), helper.make_opsetid(DOMAIN, VERSION)]
        made = [functions.FUNCTIONS[self.operator]()] if fallback else []
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=made)

    def x(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Activations for `shape`, which counts channels; bits beyond them are anything."""
        x = rng.standard_normal(shape).astype(np.float32)
        if not FORMS[self.form][0]:
            return x
        packed = np.packbits(x < 0, axis=self.axis, bitorder="little")
        if self.channels % 8:
            last = [slice(None)] * x.ndim
            last[self.axis] = slice(-1, None)
            packed[tuple(last)] |= np.uint8(0xFF << self.channels % 8 & 0xFF)
        return packed

    def expected(self, x: np.ndarray) -> np.ndarray:
        bits_in, bits_out = FORMS[self.form]
        layer = self.layer
        if bits_in:
            bits = np.unpackbits(x, axis=self.axis, count=self.channels, bitorder="little")
            x, layer = np.where(bits, np.float32(-1), np.float32(1)), replace(layer, shift=None)
        if not bits_out:
            return layer.expected(x)
        n = len(self.low)
        sums = replace(layer, alpha=np.ones(n, np.float32), bias=np.zeros(n, np.float32)).expected(x)
        shape = (-1, 1, 1) if self.axis == 1 else (-1,)
        low, high = (limit.astype(np.int64).reshape(shape) for limit in (self.low, self.high))
        return np.packbits((sums - low) % 2**32 < (high - low) % 2**32, axis=self.axis, bitorder="little")


def random_limits(rng: np.random.Generator, n: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of every kind around sums up to `most`: below, from, within, outside of, all and none."""
    a, b = rng.integers(-most // 3 - 1, most // 3 + 2, (2, n))
    least, greatest = np.int64(-(2**31)), np.int64(2**31 - 1)
    kinds = np.arange(n) % 6
    low = np.choose(kinds, [least, a, np.minimum(a, b), np.maximum(a, b), least, a])
    high = np.choose(kinds, [a, greatest, np.maximum(a, b), np.minimum(a, b), greatest, a])
    return low.astype(np.int32), high.astype(np.int32)


def random_linear(rng: np.random.Generator, form: str, n: int, k: int) -> Chained:
    return Chained(BinaryLayer.random(rng, n, k), form, *random_limits(rng, n, int(4 * k**0.5) + 1))


def random_conv(
    rng: np.random.Generator, form: str, n: int, k: int, size: tuple[int, int], rest: dict[str, object]
) -> Chained:
    layer = random_convolution(rng, n, k, size, **rest)
    return Chained(layer, form, *random_limits(rng, n, int(4 * (k * size[0] * size[1]) ** 0.5) + 1))


def fits(form: str, n: int, channels: int, group: int) -> bool:
    """Whether bytes fall together with groups."""
    bits_in, bits_out = FORMS[form]
    return group == 1 or not ((bits_in and channels // group % 8) or (bits_out and n // group % 8))
