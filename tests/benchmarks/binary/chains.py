"""Chains of binary layers in three forms, and the times of each in turn in one process.

    unpacked   what stands between two layers is nodes, as a network is exported whose norms were not folded
    folded     each BatchNorm is in the alpha and bias of the layer before; numbers still go from layer to layer
    packed     what the pass `binary-chains` makes of the first: bits go from layer to layer

All three give the same last layer the same signs (but for what folding rounds), so that they do the same work.

All three also have the same products, which bits from layer to layer do not take away:

    products   each layer alone as it stands within an endless chain, bits in and bits out, without the runtime's calls
    limit      the sum over layers of max(counting, reading) of the roofline (measure.py)

So the most that a chain of these kernels can gain, and of kernels that did nothing but count at the full rate, is

    unpacked / (products + calling)    and    (unpacked - products + limit) / (limit + calling)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from edgepack.runtime.kernels import DOMAIN, VERSION, functions
from edgepack.toolchain.passes.base import passes
from tests.benchmarks.binary.measure import (
    CALL,
    Limits,
    bound,
    call_of_nothing,
    in_turn,
    medians,
)
from tests.benchmarks.binary.models import Shape
from tests.runtime.kernels.chained import random_conv, random_linear

_EPSILON = 1e-5


@dataclass(frozen=True)
class Chain:
    """Layers one behind the other, with a BatchNorm between each two.

    Attributes:
        title: For people.
        rows: Rows of linear layers; height and width of convolutions' images.
        widths: Features or channels: of the input, then of each layer's output.
        conv: Whether they are 3x3 convolutions with padding 1.
        rprelu: Whether ReActNet's RPReLU stands behind each BatchNorm.
    """

    title: str
    rows: int
    widths: tuple[int, ...]
    conv: bool = False
    rprelu: bool = False

    @property
    def layers(self) -> int:
        return len(self.widths) - 1

    def shapes(self) -> list[Shape]:
        """Its layers."""
        return [
            Shape(self.title, self.rows, k, n, self.conv, over_fp32=0, over_int8=0)
            for k, n in pairwise(self.widths)
        ]

    def limit_us(self, products: float, near: float) -> float:
        """Microseconds at rates a second: of each layer the longer of counting and reading.

        Floats are read by the first layer alone, weights by all.
        """
        total = 0.0
        for index, shape in enumerate(self.shapes()):
            numbers = shape.bytes_read if index == 0 else shape.weight_bytes
            total += max(shape.products / products, numbers / near) * 1e6
        return total

    def layers_alone(self) -> list[tuple[onnx.ModelProto, np.ndarray]]:
        """Its layers alone, bits in and bits out, with an input each."""
        rng, made = np.random.default_rng(2), []
        for k, n in pairwise(self.widths):
            layer = (
                random_conv(rng, "Bits", n, k, (3, 3), {}) if self.conv else random_linear(rng, "Bits", n, k)
            )
            shape = (1, k, self.rows, self.rows) if self.conv else (self.rows, k)
            made.append((layer.model(), layer.x(rng, shape)))
        return made

    def x(self) -> np.ndarray:
        """An input."""
        n = self.widths[0]
        shape = (1, n, self.rows, self.rows) if self.conv else (self.rows, n)
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


CHAINS = [
    Chain("linear 128, 768 to 768 to 768", 128, (768,) * 3),
    Chain("linear 128, 768 to 3072 to 768", 128, (768, 3072, 768)),
    Chain("linear 1, four of 768 to 768", 1, (768,) * 5),
    Chain("linear 1, 768 to 3072 to 768", 1, (768, 3072, 768)),
    Chain("two conv 3x3, 56x56x64", 56, (64,) * 3, conv=True),
    Chain("two conv 3x3, 28x28x128", 28, (128,) * 3, conv=True),
    Chain("two conv 3x3, 14x14x256", 14, (256,) * 3, conv=True),
    Chain("two conv 3x3, 56x56x64, RPReLU", 56, (64,) * 3, conv=True, rprelu=True),
    Chain("two conv 3x3, 28x28x128, RPReLU", 28, (128,) * 3, conv=True, rprelu=True),
]


def models(chain: Chain) -> dict[str, onnx.ModelProto]:
    """The three forms by name."""
    packed = ir.from_proto(_model(chain, fold=False))
    functions.add_fallbacks(packed)
    passes.get("shapes")(packed)
    joined = passes.get("binary-chains")(packed)
    assert joined == chain.layers - 1
    return {
        "unpacked": _model(chain, fold=False),
        "folded": _model(chain, fold=True),
        "packed": ir.to_proto(packed),
    }


def measure(chain: Chain, peak: Limits) -> dict[str, Any]:
    """Medians over rounds: microseconds of process time by form, each over that of packed, and what bounds them."""
    made, x = models(chain), chain.x()
    least: list[float] = []

    def limit_now() -> None:
        least.append(chain.limit_us(peak.products(), peak.near()))

    runs = {name: bound(model, x) for name, model in made.items()}
    alone = {f"layer {place}": bound(*layer) for place, layer in enumerate(chain.layers_alone())}
    times = in_turn(runs | alone | {CALL: call_of_nothing()}, limit_now)
    calling, limit = times.pop(CALL), np.array(least)
    products = sum((times.pop(name) for name in alone), -len(alone) * calling)
    packed = times["packed"]
    return {
        "chain": chain.title,
        "threads": 1,
        "us": medians(times),
        "over": medians({name: of / packed for name, of in times.items() if name != "packed"}),
        "bounds_us": medians({"products": products, "limit": limit, CALL: calling}),
        "at_most": float(np.median(times["unpacked"] / (products + calling))),
        "at_most_at_limit": float(np.median((times["unpacked"] - products + limit) / (limit + calling))),
    }


def _model(chain: Chain, *, fold: bool) -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    constants: dict[str, np.ndarray] = {"shift": np.zeros(1, np.float32)}
    nodes, value = [], "x"
    for index, (k, n) in enumerate(pairwise(chain.widths)):
        last = index == chain.layers - 1
        alpha, bias = _positive(rng, n), 5 * _normal(rng, n)
        norm = {
            "g": _positive(rng, n),
            "h": _normal(rng, n),
            "m": 5 * _normal(rng, n),
            "v": _positive(rng, n),
        }
        if fold and not last:
            ratio = norm["g"] / np.sqrt(norm["v"] + np.float32(_EPSILON))
            alpha, bias = alpha * ratio, (bias - norm["m"]) * ratio + norm["h"]
        bits = rng.integers(0, 2, (n, 3, 3, k) if chain.conv else (n, k)).astype(np.uint8)
        given = {"w": np.packbits(bits, axis=-1, bitorder="little"), "a": alpha, "b": bias}
        constants |= {f"{name}{index}": array for name, array in given.items()}
        out = "y" if last else f"y{index}"
        inputs = [value, *(f"{name}{index}" for name in given), "shift"]
        nodes.append(_layer(chain, inputs, out, k))
        value = out
        if not last and not fold:
            constants |= {f"{name}{index}": array for name, array in norm.items()}
            inputs = [value, *(f"{name}{index}" for name in norm)]
            nodes.append(helper.make_node("BatchNormalization", inputs, [f"n{index}"], epsilon=_EPSILON))
            value = f"n{index}"
        if not last and chain.rprelu:
            rprelu, value = _rprelu(rng, value, index, n, constants)
            nodes += rprelu
    return _file(chain, nodes, constants)


def _layer(chain: Chain, inputs: list[str], output: str, k: int) -> onnx.NodeProto:
    if not chain.conv:
        return helper.make_node("BinLinear", inputs, [output], domain=DOMAIN, K=k)
    window = {"group": 1, "strides": [1, 1], "dilations": [1, 1], "pads": [1] * 4}
    return helper.make_node("BinConv", inputs, [output], domain=DOMAIN, K=k, **window)


def _rprelu(
    rng: np.random.Generator, value: str, index: int, n: int, constants: dict[str, np.ndarray]
) -> tuple[list[onnx.NodeProto], str]:
    """y - g where that is positive, a slope times it elsewhere; then a new origin."""
    names = [f"{name}{index}" for name in ("origin", "slope", "target")]
    for name in names:
        constants[name] = 0.3 * _positive(rng, n).reshape(n, 1, 1)
    made = [f"{kind}{index}" for kind in ("moved", "bent", "r")]
    nodes = [
        helper.make_node(op, [of, name], [to])
        for op, of, name, to in zip(("Sub", "PRelu", "Add"), [value, *made], names, made, strict=False)
    ]
    return nodes, made[-1]


def _file(chain: Chain, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    size = [chain.rows] * 2
    x, y = (
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, [1, n, *size] if chain.conv else [chain.rows, n]
        )
        for name, n in (("x", chain.widths[0]), ("y", chain.widths[-1]))
    )
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "chain", [x], [y], tensors)
    opsets = [helper.make_opsetid("", functions.OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal(n).astype(np.float32)


def _positive(rng: np.random.Generator, n: int) -> np.ndarray:
    return (abs(rng.standard_normal(n)) + 0.1).astype(np.float32)
