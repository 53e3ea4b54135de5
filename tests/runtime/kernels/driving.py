"""The driver program in `driver/`: building it, giving it nodes of ONNX files, and reading what came out."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepack.runtime.kernels import build

SOURCES = Path(__file__).with_name("driver")
_LEFT_OUT = struct.pack("<i", 0)


@dataclass(frozen=True)
class Case:
    """A model of one node, what its free inputs are, and what its output must be."""

    model: onnx.ModelProto
    inputs: Mapping[str, np.ndarray]
    expected: np.ndarray

    def content(self) -> bytes:
        """As `driver/cases.h` has it."""
        (node,) = self.model.graph.node
        constants = {one.name: numpy_helper.to_array(one) for one in self.model.graph.initializer}
        parts = [_text(node.op_type), _text(node.name), struct.pack("<I", len(node.attribute))]
        for attribute in node.attribute:
            value = helper.get_attribute_value(attribute)
            is_list = isinstance(value, list)
            parts += [
                _text(attribute.name),
                struct.pack("<B", is_list),
                _numbers(value if is_list else [value]),
            ]
        parts.append(struct.pack("<I", len(node.input)))
        for name in node.input:
            given = {**self.inputs, **constants}.get(name)
            parts.append(_LEFT_OUT if given is None else _input(name in constants, given))
        return b"".join(parts)


@dataclass(frozen=True)
class Outcome:
    """What the program printed, and each case's outputs or the words that it was refused with."""

    kernels: tuple[str, ...]
    results: list[list[np.ndarray] | str]


def build_driver(folder: Path, *options: str) -> Path:
    """Build the program into `folder`; `options` go to CMake."""
    for command in (
        ["cmake", "-S", SOURCES, "-B", folder, f"-DEDGEPACK_SOURCES={build.SOURCES / 'src'}", *options],
        ["cmake", "--build", folder],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "driver"


def drive(
    command: Sequence[str | Path],
    cases: Sequence[Case],
    folder: Path,
    *,
    threads: int = 1,
    callers: int = 1,
    rounds: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run the program: `command` is the driver with what goes before it, and the library."""
    given, made = folder / "cases", folder / "results"
    given.write_bytes(struct.pack("<I", len(cases)) + b"".join(case.content() for case in cases))
    done = subprocess.run(
        [*command, given, made, str(threads), str(callers), str(rounds)],
        capture_output=True,
        text=True,
        check=False,
        env=None if environment is None else dict(environment),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Outcome(tuple(done.stdout.strip().split(",")), _Reader(made.read_bytes()).results())


def check(outcome: Outcome, cases: Sequence[Case]) -> None:
    """Every case was computed, and gave the expected bits."""
    assert len(outcome.results) == len(cases)
    for case, result in zip(cases, outcome.results, strict=True):
        node = onnx.printer.to_text(case.model.graph.node[0])
        shape = [value.shape for value in case.inputs.values()]
        assert not isinstance(result, str), f"{node} {shape}: {result}"
        np.testing.assert_array_equal(result[0], case.expected, err_msg=f"{node} {shape}")


def _text(value: str) -> bytes:
    content = value.encode()
    return struct.pack("<I", len(content)) + content


def _numbers(values: Sequence[int]) -> bytes:
    return struct.pack(f"<I{len(values)}q", len(values), *values)


def _input(constant: bool, value: np.ndarray) -> bytes:
    assert sys.byteorder == "little"
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return struct.pack("<iB", kind, constant) + _numbers(value.shape) + value.tobytes()


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def results(self) -> list[list[np.ndarray] | str]:
        found = [self._result() for _ in range(*self._take("<I"))]
        assert self._at == len(self._content)
        return found

    def _result(self) -> list[np.ndarray] | str:
        computed, count = self._take("<BI")
        if not computed:
            return self._bytes(count).decode()
        return [self._tensor() for _ in range(count)]

    def _tensor(self) -> np.ndarray:
        kind, rank = self._take("<iI")
        shape = self._take(f"<{rank}q")
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return np.frombuffer(self._bytes(size), dtype).reshape(shape)

    def _take(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(form, self._content, self._at)
        self._at += struct.calcsize(form)
        return values

    def _bytes(self, count: int) -> bytes:
        self._at += count
        return self._content[self._at - count : self._at]
