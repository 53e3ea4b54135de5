"""ncnn's layers one by one, each with the shape of what it gives: what the translation of a graph is written with.

A tensor here lies as ncnn lays it: one to four axes, outermost first, no batch. Its shape need not be that of the value
that it holds, only its elements and their order: each layer asks for the shape that suits it, and a `Reshape` stands
between where two disagree.

Sources: ncnn's "operators" (docs/developer-guide), which lists every layer's parameters by number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgepack.toolchain.vendors.ncnn_network import Layer, Network, Weight

if TYPE_CHECKING:
    import numpy as np

MOST = 4  # axes of a tensor
BINARY = {name: code for code, name in enumerate(("add", "sub", "mul", "div", "max", "min", "pow"))}
UNARY = {
    name: code
    for code, name in enumerate(
        (
            *("abs", "neg", "floor", "ceil", "square", "sqrt", "rsqrt", "exp", "log", "sin", "cos", "tan"),
            *("asin", "acos", "atan", "reciprocal", "tanh", "log10", "round", "trunc"),
        )
    )
}
REDUCTION = {
    name: code
    for code, name in enumerate(
        ("sum", "abs sum", "square sum", "mean", "max", "min", "product", "l1", "l2", "log sum", "logsumexp")
    )
}
_ORDERS = {
    2: "WH HW",
    3: "WHC HWC WCH CWH HCW CHW",
    4: "WHDC HWDC WDHC DWHC HDWC DHWC WHCD HWCD WCHD CWHD HCWD CHWD WDCH DWCH WCDH CWDH DCWH CDWH HDCW DHCW HCDW CHDW "
    "DCHW CDHW",
}
"""Numbers of permutations: what lies innermost, next, ... afterwards, by what it was."""
_LETTERS = {2: "HW", 3: "CHW", 4: "CDHW"}
_LIST = -23300
_ACTIVATED = frozenset(
    prefix + kind
    for prefix in ("Convolution", "Deconvolution")
    for kind in ("", "DepthWise", "3D", "DepthWise3D")
)
_ACTIVATION = 9  # the parameter of those that says what their results go through; 1 is ReLU
_SHAPE_KEYS = {1: (0,), 2: (1, 0), 3: (2, 1, 0), 4: (2, 11, 1, 0)}
"""Parameters of Reshape and MemoryData for the axes, outermost first."""


@dataclass(frozen=True)
class Tensor:
    """A blob and how it lies."""

    blob: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)


def merge(shape: Sequence[int], axis: int, count: int = 1) -> tuple[int, int, int]:
    """A shape in three: what is outside of `count` axes from `axis` on, these, and what is inside."""
    axis %= len(shape)
    return math.prod(shape[:axis]), math.prod(shape[axis : axis + count]), math.prod(shape[axis + count :])


@dataclass
class Layers:
    """Layers in their order; every method that is named as what it computes adds some and gives their result."""

    layers: list[Layer] = field(default_factory=list)

    def add(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        shapes: Sequence[Sequence[int]],
        params: dict[int, int | float | Sequence[int]] | None = None,
        weights: Sequence[Weight] = (),
    ) -> list[Tensor]:
        """One layer with results of these shapes."""
        name = f"{kind.lower()}_{len(self.layers)}"
        made = [
            Tensor(name if len(shapes) == 1 else f"{name}_{index}", tuple(shape))
            for index, shape in enumerate(shapes)
        ]
        written = {}
        for key, value in (params or {}).items():
            if isinstance(value, Sequence):
                written[_LIST - key] = ",".join(map(str, (len(value), *value)))
            else:
                written[key] = f"{value:.9e}" if isinstance(value, float) else str(value)
        blobs = [tuple(one.blob for one in side) for side in (inputs, made)]
        self.layers.append(Layer(kind, name, blobs[0], blobs[1], written, list(weights)))
        return made

    def input(self, shape: Sequence[int]) -> Tensor:
        """A tensor that callers give."""
        return self.add("Input", [], [shape])[0]

    def constant(self, array: np.ndarray) -> Tensor:
        """Numbers of 32 bits of the file; their bits stay as they are."""
        import numpy as np

        values = np.ascontiguousarray(array).reshape(array.shape or (1,))
        params: dict[int, int | float | Sequence[int]] = dict(
            zip(_SHAPE_KEYS[values.ndim], values.shape, strict=True)
        )
        weight = Weight(values.ravel().view(np.float32), marked=False)
        return self.add("MemoryData", [], [values.shape], params, [weight])[0]

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The same elements in another shape."""
        shape = tuple(shape)
        if shape == x.shape:
            return x
        return self.add("Reshape", [x], [shape], dict(zip(_SHAPE_KEYS[len(shape)], shape, strict=True)))[0]

    def permute(self, x: Tensor, order: Sequence[int]) -> Tensor:
        """Axes in another order, as numpy's `transpose` takes it."""
        if list(order) == sorted(order):
            return x
        rank = len(order)
        name = "".join(_LETTERS[rank][axis] for axis in reversed(order))
        shape = [x.shape[axis] for axis in order]
        return self.add("Permute", [x], [shape], {0: _ORDERS[rank].split().index(name)})[0]

    def binary(self, op: str, a: Tensor, b: Tensor | float) -> Tensor:
        """One of `BINARY` of two tensors of as many axes, of which one may be 1 long where the other is not."""
        if not isinstance(b, Tensor):
            return self.add("BinaryOp", [a], [a.shape], {0: BINARY[op], 1: 1, 2: float(b)})[0]
        shape = [max(pair) for pair in zip(a.shape, b.shape, strict=True)]
        return self.add("BinaryOp", [a, b], [shape], {0: BINARY[op]})[0]

    def unary(self, op: str, x: Tensor) -> Tensor:
        """One of `UNARY`."""
        return self.add("UnaryOp", [x], [x.shape], {0: UNARY[op]})[0]

    def simple(self, kind: str, x: Tensor, **params: float) -> Tensor:
        """A layer of one tensor that keeps its shape; parameters are named p0, p1, ..."""
        return self.add(kind, [x], [x.shape], {int(key[1:]): value for key, value in params.items()})[0]

    def clip(self, x: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Not below `low`, not above `high`."""
        return self.simple("Clip", x, p0=float(low), p1=float(high))

    def crop(self, x: Tensor, axis: int, start: int, end: int) -> Tensor:
        """From `start` to before `end`."""
        if (start, end) == (0, x.shape[axis]):
            return x
        shape = [*x.shape[:axis], end - start, *x.shape[axis + 1 :]]
        return self.add("Crop", [x], [shape], {9: [start], 10: [end], 11: [axis]})[0]

    def split(self, x: Tensor, axis: int, sizes: Sequence[int]) -> list[Tensor]:
        """One after the other."""
        if len(sizes) == 1:
            return [x]
        shapes = [[*x.shape[:axis], size, *x.shape[axis + 1 :]] for size in sizes]
        return self.add("Slice", [x], shapes, {0: list(sizes), 1: axis})

    def concat(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.add("Concat", parts, [shape], {0: axis})[0]

    def tile(self, x: Tensor, repeats: Sequence[int]) -> Tensor:
        """As numpy's `tile`, with a number for every axis."""
        if all(count == 1 for count in repeats):
            return x
        shape = [size * count for size, count in zip(x.shape, repeats, strict=True)]
        return self.add("Tile", [x], [shape], {2: list(repeats)})[0]

    def reduce(self, op: str, x: Tensor, axis: int) -> Tensor:
        """One of `REDUCTION` along an axis, which stays with length 1."""
        shape = [*x.shape[:axis], 1, *x.shape[axis + 1 :]]
        return self.add("Reduction", [x], [shape], {0: REDUCTION[op], 1: 0, 3: [axis], 4: 1, 5: 1})[0]

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """Products of matrices in the two inner axes; outer axes of length 1 are repeated."""
        outer = [max(pair) for pair in zip(a.shape[:-2], b.shape[:-2], strict=True)]
        return self.add("MatMul", [a, b], [[*outer, a.shape[-2], b.shape[-1]]], {0: 0})[0]

    def network(self, outputs: Sequence[Tensor]) -> Network:
        """All layers that the outputs need, called out0, out1, ..., with copies where a blob is read more than once.

        ncnn lets one layer read a blob, which may then write its result over it.
        """
        wanted = {one.blob for one in outputs}
        kept: list[Layer] = []
        for layer in reversed(self.layers):
            if wanted & set(layer.outputs):
                wanted |= set(layer.inputs)
                kept.append(layer)
        ends = [
            Layer("Noop", f"end_{index}", (one.blob,), (f"out{index}",), {})
            for index, one in enumerate(outputs)
        ]
        layers = [*_fused(kept[::-1]), *ends]
        reads = Counter(blob for layer in layers for blob in layer.inputs)
        made: list[Layer] = []
        left = {blob: [f"{blob}_{i}" for i in range(count)] for blob, count in reads.items() if count > 1}
        for layer in layers:
            layer.inputs = tuple(left[blob].pop(0) if blob in left else blob for blob in layer.inputs)
            made.append(layer)
            made += [
                Layer("Split", f"split_{blob}", (blob,), tuple(left[blob]), {})
                for blob in layer.outputs
                if blob in left
            ]
        return Network(made)


def _fused(layers: Sequence[Layer]) -> list[Layer]:
    """Convolutions take the ReLU that alone reads them: one layer less, and int8 results can be handed on."""
    reads = Counter(blob for layer in layers for blob in layer.inputs)
    makers = {layer.outputs[0]: layer for layer in layers if layer.kind in _ACTIVATED}
    made = []
    for layer in layers:
        maker = makers.get(layer.inputs[0]) if layer.kind == "ReLU" and not layer.params else None
        if maker is not None and reads[layer.inputs[0]] == 1 and _ACTIVATION not in maker.params:
            maker.params[_ACTIVATION] = "1"
            maker.outputs = layer.outputs
        else:
            made.append(layer)
    return made
