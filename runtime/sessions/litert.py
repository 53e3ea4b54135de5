"""LiteRT (TFLite) on the CPU with XNNPACK, through its Python wheel.

The runtime narrows 64-bit integers to 32, an NPU's model takes and gives int8 or int16, and images
lie channels-last in the file. The session converts all of it, so that a caller sees the signature
and nothing else; what that costs is part of every time measured through it.

Where a file leaves dimensions to its caller, the runtime plans its memory for the sizes that a call
has, and anew only when the next call has others.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.sessions._checked import CheckedSession
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import SourceError, ToolchainMissingError, UsageError
from edgepack.toolchain.narrowing import shown
from edgepack.toolchain.program import Signature

if TYPE_CHECKING:
    import numpy as np


_TO_FILE = (0, 2, 3, 1)  # [N, C, H, W] -> [N, H, W, C]


@sessions.register("litert")
class LitertSession(CheckedSession):
    """A `.tflite` file loaded into LiteRT with its default delegate, XNNPACK.

    Args:
        path: The model file.
        signature: The part's signature as the caller sees it; what it leaves open, the file does too.
        threads: Threads within one operator.

    Raises:
        SourceError: The file is missing, corrupt, or does not have the signature's inputs and outputs.
        ToolchainMissingError: ai-edge-litert is not installed.
    """

    distribution = "ai-edge-litert"

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1) -> None:
        super().__init__(path, signature, threads=threads)
        self._interpreter: Any = _load(path, threads)
        self._channels_last = frozenset(tflite.read_note(path).get(tflite.CHANNELS_LAST, ()))
        runner = _runner(self._interpreter, path, signature, self._channels_last)
        self._inputs, self._outputs = dict(runner.get_input_details()), dict(runner.get_output_details())
        # In a file of several parts the tensors of all but the first are reached through the part's runner only.
        self._runner = runner if len(self._interpreter.get_signature_list()) > 1 else None
        self._check()
        self._open = any(-1 in detail["shape_signature"] for detail in self._inputs.values())
        self._shapes: dict[int, tuple[int, ...]] = {}
        # What a call needs, found once: between calls of a few milliseconds lookups count.
        self._given = [
            (name, detail["index"], name in self._channels_last, _quantizer(detail))
            for name, detail in self._inputs.items()
        ]
        self._made = [
            (
                spec.name,
                self._outputs[spec.name]["index"],
                _dequantizer(self._outputs[spec.name], shown(spec.dtype)),
            )
            for spec in signature.outputs
        ]

    @classmethod
    def prepare(cls) -> None:
        """Import the runtime."""
        _import()

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        interpreter = self._interpreter
        given = {
            (name, index): quantized(inputs[name].transpose(_TO_FILE) if channels_last else inputs[name])
            for name, index, channels_last, quantized in self._given
        }
        try:
            if self._runner is not None:
                made = self._runner(**{name: value for (name, _), value in given.items()})
                return {name: real(made[name]) for name, _, real in self._made}
            if self._open:
                self._resize({index: value.shape for (_, index), value in given.items()})
            for (_, index), value in given.items():
                interpreter.set_tensor(index, value)
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            self._shapes = {}
            raise SourceError(f"LiteRT failed on these inputs: {error}", where=str(self.path)) from error
        return {name: real(_read(interpreter, index)) for name, index, real in self._made}

    def _resize(self, shapes: dict[int, tuple[int, ...]]) -> None:
        """Let the runtime plan for these inputs, by index, unless that is what it has planned for."""
        if shapes == self._shapes:
            return
        for index, shape in shapes.items():
            if shape != self._shapes.get(index):
                self._interpreter.resize_tensor_input(index, shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes

    @classmethod
    def tensors(cls, path: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every tensor of one call by name (`tensors` below)."""
        return tensors(path, inputs)

    def close(self) -> None:
        """Release the runtime's memory."""
        super().close()
        self._interpreter = self._runner = None

    def _check(self) -> None:
        """Compare names and shapes of the file with the signature's.

        An input that the model does not use may be absent from the file.
        """
        for kind, details, specs in (
            ("input", self._inputs, self.signature.inputs),
            ("output", self._outputs, self.signature.outputs),
        ):
            by_name = {spec.name: spec for spec in specs}
            strange = sorted(details.keys() - by_name.keys())
            strange += [] if kind == "input" else sorted(by_name.keys() - details.keys())
            if strange:
                raise SourceError(
                    f"The {kind} '{strange[0]}' is in only one of the file and its signature",
                    where=str(self.path),
                    todo="Export the bundle again",
                )
            for name, detail in details.items():
                expected = by_name[name].shape
                if kind == "input" and name in self._channels_last:
                    expected = tuple(expected[axis] for axis in _TO_FILE)
                if tuple(detail["shape_signature"]) != _numbers(expected):
                    raise SourceError(
                        f"The {kind} '{name}' has the shape {[int(n) for n in detail['shape_signature']]} in the file "
                        f"and {list(expected)} in its signature",
                        where=str(self.path),
                        todo="Export the bundle again",
                    )


def tensors(
    path: Path, inputs: Mapping[str, np.ndarray], names: Iterable[str] | None = None, *, threads: int = 1
) -> dict[str, np.ndarray]:
    """Every tensor that a call computes, by name, in order of execution; quantized ones as float32.

    Quantizing keeps a tensor's name, so the results of a float file and of its quantized form can
    be compared name by name. Every operator runs by itself, without XNNPACK, and all stays in memory.

    Args:
        path: The model file.
        inputs: By the signature's names, dtypes and layout.
        names: Only these; all by default.
        threads: Threads within one operator.

    Raises:
        SourceError: The file cannot be loaded, or the model fails on these inputs.
        UsageError: An input is missing.
    """
    interpreter = _load(path, threads, keep_tensors=True)
    details, _ = _details(interpreter, path)
    channels_last = tflite.read_note(path).get(tflite.CHANNELS_LAST, ())
    given = {}
    for name, detail in details.items():
        if name not in inputs:
            raise UsageError(
                f"The input '{name}' is missing", where=path.name, todo=f"Give all of: {', '.join(details)}"
            )
        value = inputs[name].transpose(_TO_FILE) if name in channels_last else inputs[name]
        given[detail["index"]] = _quantizer(detail)(value)
    try:
        if any(-1 in detail["shape_signature"] for detail in details.values()):
            for index, value in given.items():
                interpreter.resize_tensor_input(index, value.shape)
            interpreter.allocate_tensors()
        for index, value in given.items():
            interpreter.set_tensor(index, value)
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise SourceError(f"LiteRT failed on these inputs: {error}", where=str(path)) from error
    wanted = None if names is None else set(names)
    by_name = {detail["name"]: detail for detail in interpreter.get_tensor_details()}
    result = {}
    for operator in tflite.operators(tflite.read(path)):
        for tensor in operator.outputs:
            if tensor.name in by_name and (wanted is None or tensor.name in wanted):
                detail = by_name[tensor.name]
                result[tensor.name] = _dequantizer(detail)(_read(interpreter, detail["index"]))
    return result


def _read(interpreter: Any, index: int) -> np.ndarray:
    """A tensor's numbers; LiteRT's Python refuses to give a tensor without any, such as an empty cache."""
    try:
        found: np.ndarray = interpreter.get_tensor(index)
    except ValueError:
        import numpy as np

        detail = next(one for one in interpreter.get_tensor_details() if one["index"] == index)
        if 0 not in detail["shape"]:
            raise
        return np.empty(detail["shape"], detail["dtype"])
    return found


def _numbers(shape: Iterable[int | str]) -> tuple[int, ...]:
    """A shape as a file has it: -1 where callers choose."""
    return tuple(dim if isinstance(dim, int) else -1 for dim in shape)


def _import() -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise ToolchainMissingError(
            f"The runtime LiteRT cannot be imported: {error}", todo="Run: pip install edgepack"
        ) from error
    return interpreter


def _load(path: Path, threads: int, *, keep_tensors: bool = False) -> Any:
    litert = _import()
    kind = litert.OpResolverType
    tflite.read_note(path)  # says what is wrong with a file that is none
    try:
        with _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that keeping all tensors takes memory
            interpreter = litert.Interpreter(
                str(path),
                num_threads=threads,
                experimental_preserve_all_tensors=keep_tensors,
                experimental_op_resolver_type=(
                    kind.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep_tensors else kind.AUTO
                ),
            )
            try:
                interpreter.allocate_tensors()
            except RuntimeError:
                # The sizes that a file names beside its open dimensions need not go together; a call's do.
                if not any(-1 in detail["shape_signature"] for detail in interpreter.get_input_details()):
                    raise
    except (RuntimeError, ValueError) as error:
        raise SourceError(
            f"LiteRT cannot load the file: {error}", where=str(path), todo="Export the bundle again"
        ) from error
    return interpreter


def _runner(interpreter: Any, path: Path, signature: Signature, channels_last: Collection[str]) -> Any:
    """The file's signature, or, where it holds the parts of a program, the one that takes and gives what is asked for.

    Raises:
        SourceError: There is none, or more than one.
    """
    known = interpreter.get_signature_list()
    if len(known) <= 1:
        _check_key(known, path)
        return interpreter.get_signature_runner(tflite.SIGNATURE_KEY)
    shapes = {spec.name: spec.shape for spec in (*signature.inputs, *signature.outputs)}
    inputs, outputs = ({spec.name for spec in side} for side in (signature.inputs, signature.outputs))
    fitting = []
    for key, sides in known.items():
        if not (set(sides["inputs"]) <= inputs and set(sides["outputs"]) == outputs):
            continue
        runner = interpreter.get_signature_runner(key)
        details = {**runner.get_input_details(), **runner.get_output_details()}
        wanted = {
            name: tuple(shape[axis] for axis in _TO_FILE)
            if name in channels_last and name in inputs
            else shape
            for name, shape in shapes.items()
        }
        if all(
            tuple(detail["shape_signature"]) == _numbers(wanted[name]) for name, detail in details.items()
        ):
            fitting.append(runner)
    if len(fitting) != 1:
        raise SourceError(
            f"The file holds the parts {', '.join(known)}, and {len(fitting)} of them take and give what the "
            "signature says",
            where=str(path),
            todo="Export the bundle again",
        )
    return fitting[0]


def _check_key(known: Collection[str], path: Path) -> None:
    if tflite.SIGNATURE_KEY not in known:
        raise SourceError(
            f"The file has no signature '{tflite.SIGNATURE_KEY}'",
            where=str(path),
            todo="Export the bundle again",
        )


def _details(interpreter: Any, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensor details of inputs and outputs by the names of the file's signature."""
    _check_key(interpreter.get_signature_list(), path)
    runner = interpreter.get_signature_runner(tflite.SIGNATURE_KEY)
    return dict(runner.get_input_details()), dict(runner.get_output_details())


def _quantizer(detail: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """What makes an array the file's: TFLite's QUANTIZE, clip(round(x / scale) + zero_point); else a cast."""
    import numpy as np

    scale, zero_point = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    if dtype.kind not in "iu":
        return lambda value: np.asarray(value, dtype, order="C")  # a scalar stays one
    limits = np.iinfo(dtype)

    def quantized(value: np.ndarray) -> np.ndarray:
        if scale and value.dtype.kind == "f":
            value = np.clip(np.rint(value / np.float32(scale)) + zero_point, limits.min, limits.max)
        elif value.dtype.itemsize > dtype.itemsize and value.dtype.kind == dtype.kind == "i":
            narrow = value.astype(dtype, order="C")
            if (narrow != value).any():
                raise UsageError(
                    f"An integer input holds values beyond {dtype.name}, which is all that LiteRT takes",
                    todo="Give smaller values",
                )
            return narrow
        return np.asarray(value, dtype, order="C")

    return quantized


def _dequantizer(detail: Mapping[str, Any], dtype: str | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """What makes the file's array a caller's: (q - zero_point) * scale, per tensor or per channel, in `dtype`."""
    import numpy as np

    parameters = detail["quantization_parameters"]
    scales, zero_points = parameters["scales"], parameters["zero_points"]

    def shown(value: np.ndarray) -> np.ndarray:
        return value if dtype is None else value.astype(dtype, copy=False)

    if not len(scales) or np.dtype(detail["dtype"]).kind == "f":
        return shown
    shape = [1] * len(detail["shape"])
    if len(scales) > 1:
        shape[parameters["quantized_dimension"]] = -1
    scales, zero_points = scales.reshape(shape), zero_points.reshape(shape)
    return lambda value: shown(
        ((value.astype(np.float32) - zero_points) * scales).astype(np.float32, copy=False)
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep LiteRT's line about its delegate off standard error; it has no other switch for it."""
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # there is no standard error to keep it off
        yield
        return
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path of ours
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
