"""Files that ask BinLinear or BinConv for what cannot be, or for what is odd and can be.

A draft begins as a correct layer, and up to two things about it are changed. `expected` says from the
operators' definitions alone whether the result may be computed, and what it then is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepack.runtime.kernels import DOMAIN, VERSION, functions
from tests.runtime.kernels.convolutions import BinaryConvolution
from tests.runtime.kernels.layers import BinaryLayer

LARGEST_SUM = 2**24
LARGEST_STEP = 2**15
LARGEST_PLANE = 2**26
INTEGERS = (-(2**63), -(2**31), -1, 0, 1, 2, 7, 8, 9, 2**15, 2**15 + 1, 2**24, 2**24 + 1, 2**32, 2**63 - 1)
FLOATS = (0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 3.4e38)


@dataclass
class Draft:
    """One node: attributes and constants by name (None: left out) and the activations."""

    op: str
    attributes: dict[str, Any]
    constants: dict[str, np.ndarray | None]
    x: np.ndarray

    def model(self) -> onnx.ModelProto:
        """As a file; x has no declared shape, so that any may come."""
        given = {name: value for name, value in self.constants.items() if value is not None}
        names = [name if value is not None else "" for name, value in self.constants.items()]
        while names and not names[-1]:
            names.pop()
        attributes = {name: value for name, value in self.attributes.items() if value is not None}
        node = helper.make_node(self.op, ["x", *names], ["y"], name="layer", domain=DOMAIN, **attributes)
        kind = helper.np_dtype_to_tensor_dtype(self.x.dtype)
        graph = helper.make_graph(
            [node],
            "one-layer",
            [helper.make_tensor_value_info("x", kind, None)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in given.items()],
        )
        opsets = [helper.make_opsetid("", functions.OPSET), helper.make_opsetid(DOMAIN, VERSION)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def expected(self) -> np.ndarray | None:
        """What it computes; None if it must be refused."""
        if self.x.dtype != np.float32 or not self._constants_have_their_types():
            return None
        with np.errstate(all="ignore"):
            return self._linear() if self.op == "BinLinear" else self._conv()

    def _constants_have_their_types(self) -> bool:
        types = {"weights": np.uint8, "alpha": np.float32, "bias": np.float32, "shift": np.float32}
        for name, value in self.constants.items():
            if value is None:
                if name != "shift":
                    return False
            elif value.dtype != types[name]:
                return False
        return True

    def _integer(self, name: str, least: int, most: int) -> int | None:
        value = self.attributes.get(name)
        return value if isinstance(value, int) and least <= value <= most else None

    def _integers(self, name: str, count: int, least: int) -> tuple[int, ...] | None:
        value = self.attributes.get(name)
        if not isinstance(value, list) or len(value) != count:
            return None
        fits = all(isinstance(one, int) and least <= one <= LARGEST_STEP for one in value)
        return tuple(value) if fits else None

    def _scales(self, n: int, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | None:
        alpha, bias, shift = (self.constants[name] for name in ("alpha", "bias", "shift"))
        assert alpha is not None
        assert bias is not None
        if alpha.shape != (n,) or bias.shape != (n,):
            return None
        if shift is not None and (shift.shape not in {(1,), (channels,)} or np.isnan(shift).any()):
            return None
        return alpha, bias, shift

    def _linear(self) -> np.ndarray | None:
        k = self._integer("K", 1, LARGEST_SUM)
        weights = self.constants["weights"]
        assert weights is not None
        if k is None or weights.ndim != 2 or not weights.shape[0] or weights.shape[1] != -(-k // 8):
            return None
        scales = self._scales(weights.shape[0], k)
        if scales is None or self.x.ndim == 0 or self.x.shape[-1] != k:
            return None
        return BinaryLayer(_unpacked(weights, k), *scales).expected(self.x)

    def _image_fits(
        self, channels: int, kernel: list[int], dilations: tuple[int, ...], pads: tuple[int, ...]
    ) -> bool:
        if self.x.ndim != 4 or self.x.shape[1] != channels or 0 in self.x.shape[2:]:
            return False
        padded = [self.x.shape[2 + i] + pads[i] + pads[2 + i] for i in range(2)]
        extents = [dilations[i] * (kernel[i] - 1) + 1 for i in range(2)]
        reaches = padded[0] >= extents[0] and padded[1] >= extents[1]
        return reaches and padded[0] * padded[1] <= LARGEST_PLANE

    def _conv(self) -> np.ndarray | None:
        weights = self.constants["weights"]
        assert weights is not None
        if weights.ndim != 4 or 0 in weights.shape:
            return None
        n, *kernel, columns = weights.shape
        k, group = self._integer("K", 1, LARGEST_SUM), self._integer("group", 1, n)
        strides, dilations = (self._integers(name, 2, 1) for name in ("strides", "dilations"))
        pads = self._integers("pads", 4, 0)
        if k is None or group is None or strides is None or dilations is None or pads is None:
            return None
        if n % group or columns != -(-k // 8) or k * kernel[0] * kernel[1] > LARGEST_SUM:
            return None
        scales = self._scales(n, k * group)
        if scales is None or not self._image_fits(k * group, kernel, dilations, pads):
            return None
        layer = BinaryConvolution(
            _unpacked(weights, k), *scales, group, (strides[0], strides[1]), (dilations[0], dilations[1]),
            (pads[0], pads[1], pads[2], pads[3]),
        )  # fmt: skip
        return layer.expected(self.x)


def odd_draft(seed: int, number: int) -> Draft:
    """The draft of that number, the same on every machine."""
    rng = np.random.default_rng([seed, number])
    made = _linear(rng) if rng.random() < 0.5 else _conv(rng)
    if rng.random() < 0.3:
        made.x[rng.random(made.x.shape) < 0.3] = rng.choice(FLOATS)
    for _ in range(int(rng.integers(0, 3))):
        change = CHANGES[int(rng.integers(len(CHANGES)))]
        change(made, rng)
    return made


def _linear(rng: np.random.Generator) -> Draft:
    m, k, n = int(rng.integers(0, 6)), int(rng.integers(1, 70)), int(rng.integers(1, 20))
    bits = rng.integers(0, 2, (n, k)).astype(np.uint8)
    x = rng.standard_normal((m, k)).astype(np.float32)
    return Draft("BinLinear", {"K": k}, _constants(rng, bits, n, k), x)


def _conv(rng: np.random.Generator) -> Draft:
    group, k = int(rng.integers(1, 4)), int(rng.integers(1, 40))
    n = group * int(rng.integers(1, 12))
    kernel = rng.integers(1, 4, 2)
    bits = rng.integers(0, 2, (n, *kernel, k)).astype(np.uint8)
    attributes = {
        "K": k,
        "group": group,
        "strides": rng.integers(1, 4, 2).tolist(),
        "dilations": rng.integers(1, 3, 2).tolist(),
        "pads": rng.integers(0, 3, 4).tolist(),
    }
    shape = (int(rng.integers(0, 3)), k * group, *map(int, rng.integers(1, 9, 2)))
    x = rng.standard_normal(shape).astype(np.float32)
    return Draft("BinConv", attributes, _constants(rng, bits, n, k * group), x)


def _constants(
    rng: np.random.Generator, bits: np.ndarray, n: int, channels: int
) -> dict[str, np.ndarray | None]:
    shift = rng.standard_normal(int(rng.choice([1, channels]))).astype(np.float32)
    return {
        "weights": np.packbits(bits, axis=-1, bitorder="little"),
        "alpha": rng.standard_normal(n).astype(np.float32),
        "bias": rng.standard_normal(n).astype(np.float32),
        "shift": None if rng.random() < 0.3 else shift,
    }


def _another_attribute(made: Draft, rng: np.random.Generator) -> None:
    name = str(rng.choice(list(made.attributes)))
    others: list[Any] = [None, 1.0, "1", [1.0], int(rng.choice(INTEGERS)), rng.choice(INTEGERS, 2).tolist()]
    made.attributes[name] = others[int(rng.integers(len(others)))]


def _another_number(made: Draft, rng: np.random.Generator) -> None:
    """One of a list, or a length of the list."""
    name = str(rng.choice(list(made.attributes)))
    value = made.attributes[name]
    if isinstance(value, list) and value and rng.random() < 0.8:
        made.attributes[name] = [*value]
        made.attributes[name][int(rng.integers(len(value)))] = int(rng.choice(INTEGERS))
    elif isinstance(value, list):
        made.attributes[name] = value[:-1] if rng.random() < 0.5 else [*value, 1]
    else:
        made.attributes[name] = int(rng.choice(INTEGERS))


def _another_shape(made: Draft, rng: np.random.Generator) -> None:
    name = str(rng.choice(list(made.constants)))
    value = made.constants[name]
    if value is None:
        return
    shape = list(value.shape)
    kind = int(rng.integers(6))
    if kind == 0 and shape:
        place = int(rng.integers(len(shape)))
        shape[place] = max(0, shape[place] + int(rng.choice([-1, 1])))
    elif kind == 1:
        shape.insert(int(rng.integers(len(shape) + 1)), 1)
    elif kind == 2:
        shape = [int(np.prod(shape))]
    elif kind == 3:
        shape = []
    elif kind == 4 and shape:
        shape[int(rng.integers(len(shape)))] = 0
    else:
        shape = [2**40, *shape[1:-1], 0]
    made.constants[name] = (
        np.resize(value, shape).astype(value.dtype) if value.size else np.zeros(shape, value.dtype)
    )


def _another_type(made: Draft, rng: np.random.Generator) -> None:
    dtype = rng.choice(np.array([np.uint8, np.int8, np.float32, np.float64, np.int64, np.int32], object))
    with np.errstate(invalid="ignore"):
        if rng.random() < 0.2:
            made.x = np.nan_to_num(made.x).astype(dtype)
            return
        name = str(rng.choice(list(made.constants)))
        value = made.constants[name]
        if value is not None:
            made.constants[name] = np.nan_to_num(value).astype(dtype)


def _another_width(made: Draft, rng: np.random.Generator) -> None:
    shape = list(made.x.shape)
    kind = int(rng.integers(5))
    if kind == 0 and shape:
        place = int(rng.integers(len(shape)))
        shape[place] = max(0, shape[place] + int(rng.choice([-1, 1])))
    elif kind == 1:
        shape.insert(0, int(rng.integers(0, 3)))
    elif kind == 2:
        shape = shape[1:]
    elif kind == 3:
        shape = []
    elif shape:
        shape[int(rng.integers(len(shape)))] = 0
    made.x = rng.standard_normal(shape).astype(made.x.dtype)


def _left_out(made: Draft, rng: np.random.Generator) -> None:
    made.constants[str(rng.choice(list(made.constants)))] = None


def _odd_scale(made: Draft, rng: np.random.Generator) -> None:
    value = made.constants[str(rng.choice(["alpha", "bias", "shift"]))]
    if value is not None and value.size and value.dtype == np.float32:
        value.reshape(-1)[int(rng.integers(value.size))] = rng.choice(FLOATS)


def _bits_beyond(made: Draft, rng: np.random.Generator) -> None:
    weights, k = made.constants["weights"], made.attributes["K"]
    if weights is not None and weights.ndim and weights.dtype == np.uint8 and isinstance(k, int) and k % 8:
        weights[..., -1:] |= np.uint8(0xFF << (k % 8) & 0xFF)


CHANGES: tuple[Callable[[Draft, np.random.Generator], None], ...] = (
    _another_attribute, _another_number, _another_number, _another_shape, _another_shape, _another_type,
    _another_width, _left_out, _odd_scale, _odd_scale, _bits_beyond,
)  # fmt: skip


def _unpacked(weights: np.ndarray, k: int) -> np.ndarray:
    return np.unpackbits(weights, axis=-1, count=k, bitorder="little")


def main(seed: int, count: int) -> None:
    """Run drafts in ONNX Runtime: print how many were computed and refused, and the number before each."""
    from tests.runtime.kernels.conftest import open_model

    computed = refused = 0
    for number in range(count):
        draft = odd_draft(seed, number)
        print(number, file=sys.stderr, flush=True)  # noqa: T201 - a crash shows where
        expected = draft.expected()
        try:
            (y,) = open_model(draft.model(), threads=1 + number % 2).run(None, {"x": draft.x})
        except Exception as error:  # the runtime's classes of errors have no base of their own
            if expected is not None:
                raise AssertionError(f"draft {number} is refused: {error}") from error
            words = str(error)
            if not any(word in words for word in ("edgepack", draft.op, "layer")):
                raise AssertionError(f"draft {number}: {words} does not say what it is about") from error
            refused += 1
        else:
            assert expected is not None, f"draft {number} is computed: {draft.attributes}"
            np.testing.assert_array_equal(y, expected, err_msg=f"draft {number}")
            computed += 1
    print(computed, refused)  # noqa: T201 - the answer


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
