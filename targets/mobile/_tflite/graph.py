"""A TFLite graph in memory while it is built: operators, tensors, and constants that are read when written.

A constant is not held: `Values` knows its shape and dtype and how to get it, and the writer asks for one at a time.
Dtypes are the schema's names in lower case; a dimension that callers may choose is -1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgepack.targets.mobile._tflite.quantization import Quantization

BITS = {
    "float32": 32, "float16": 16, "int64": 64, "int32": 32, "int16": 16, "int8": 8, "uint8": 8, "uint16": 16,
    "uint32": 32, "bool": 8, "int4": 4,
}  # fmt: skip
SMALL = 4096
"""Constants of at most so many elements are looked into freely."""


@dataclass(frozen=True, eq=False)
class Values:
    """A constant's values.

    Attributes:
        shape: Its dimensions.
        dtype: The schema's name; int4 lies one value a byte until it is written.
        read: Gives the values as an array of that shape; called whenever they are needed.
        key: Equal for values that are known to be equal bytes, so that they are stored once.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]
    key: Hashable = None

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return (math.prod(self.shape) * BITS[self.dtype] + 7) // 8

    def derived(
        self, change: Callable[[np.ndarray], np.ndarray], shape: Sequence[int], key: Hashable, dtype: str = ""
    ) -> Values:
        """Values computed from these when they are read; `key` says how, among all ways that are used."""
        own = None if self.key is None else (self.key, key)
        return Values(tuple(shape), dtype or self.dtype, lambda: change(self.read()), own)


def held(array: np.ndarray, dtype: str = "") -> Values:
    """Values of a small array in memory; equal ones have equal keys."""
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    name = dtype or str(array.dtype)
    key = (name, array.shape, array.tobytes()) if array.size <= SMALL else None
    return Values(array.shape, name, lambda: array, key)


@dataclass(eq=False)
class Tensor:
    """One tensor; constant when it has `values`.

    Where callers choose dimensions (-1), `example` has those that the file names beside that: a runtime that is told
    nothing plans for them.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: Values | None = None
    quantization: Quantization | None = None
    example: tuple[int, ...] | None = None

    @property
    def small(self) -> np.ndarray | None:
        """The values of a small constant, else None."""
        if self.values is None or math.prod(self.shape) > SMALL:
            return None
        return self.values.read()


@dataclass(eq=False)
class Operator:
    """One operator: the schema's name ("CONV_2D") and its options by the schema's names."""

    code: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: dict[str, Any] = field(default_factory=dict)


class Graph:
    """Operators in order of execution.

    Attributes:
        inputs: By the signature's names, in order.
        outputs: The same.
        operators: In order.
        channels_last: Inputs that are [N, C, H, W] to a caller and [N, H, W, C] here.
    """

    def __init__(self) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self.operators: list[Operator] = []
        self.channels_last: list[str] = []
        self._names: Counter[str] = Counter()
        self._constants: dict[Hashable, Tensor] = {}

    def name(self, wanted: str) -> str:
        """`wanted`, with a number behind it where it is taken."""
        self._names[wanted] += 1
        count = self._names[wanted]
        return wanted if count == 1 else self.name(f"{wanted};{count - 1}")

    def tensor(
        self, name: str, dtype: str, shape: Sequence[int], quantization: Quantization | None = None
    ) -> Tensor:
        """A new tensor that an operator will compute."""
        return Tensor(self.name(name), dtype, tuple(int(n) for n in shape), quantization=quantization)

    def constant(self, values: Values, name: str, quantization: Quantization | None = None) -> Tensor:
        """A constant; the same one again for values of the same key and no scales of their own."""
        if values.key is None or quantization is not None:
            return Tensor(self.name(name), values.dtype, values.shape, values, quantization)
        if values.key not in self._constants:
            self._constants[values.key] = Tensor(self.name(name), values.dtype, values.shape, values)
        return self._constants[values.key]

    def integers(self, values: Iterable[int] | int, name: str) -> Tensor:
        """A constant of int32: axes, paddings, shapes."""
        return self.constant(held(np.array(values, np.int32)), name)

    def add(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor],
        options: dict[str, Any] | None = None,
    ) -> Operator:
        """Append an operator."""
        operator = Operator(code, list(inputs), list(outputs), options or {})
        self.operators.append(operator)
        return operator

    def producers(self) -> dict[Tensor, Operator]:
        """Which operator computes a tensor."""
        return {tensor: operator for operator in self.operators for tensor in operator.outputs}

    def consumers(self) -> dict[Tensor, list[Operator]]:
        """Which operators read a tensor, in order; once for each time that they do."""
        found: dict[Tensor, list[Operator]] = {}
        for operator in self.operators:
            for tensor in operator.inputs:
                if tensor is not None:
                    found.setdefault(tensor, []).append(operator)
        return found

    def replace(self, old: Tensor, new: Tensor) -> None:
        """Let all that reads `old`, the graph's outputs included, read `new`."""
        for operator in self.operators:
            operator.inputs = [new if tensor is old else tensor for tensor in operator.inputs]
        self.outputs = {name: new if tensor is old else tensor for name, tensor in self.outputs.items()}
