"""MNN on the CPU through its Python wheel.

MNN has integers of 32 bits, and booleans are such integers: the session converts, so that a caller sees the signature
and nothing else. Where a settings file lies beside the model (`<part>.json`), it says how floats and weights are to be
computed with; without it they are float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.sessions._checked import CheckedSession
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.narrowing import narrowed, shown
from edgepack.toolchain.program import Signature
from edgepack.toolchain.vendors import mnn

if TYPE_CHECKING:
    import numpy as np


@sessions.register("mnn")
class MnnSession(CheckedSession):
    """An `.mnn` file, any sizes of its named dimensions.

    Args:
        path: The model file.
        signature: The part's signature as the caller sees it.
        threads: Threads within one operator.

    Raises:
        SourceError: The file is missing, is none of MNN's, or lacks an output of the signature.
        ToolchainMissingError: MNN is not installed.
    """

    distribution = mnn.DISTRIBUTION

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1) -> None:
        super().__init__(path, signature, threads=threads)
        self._module: Any = _load(path, signature, threads)
        self._inputs = [spec for spec in signature.inputs if spec.name in _names(self._module)]

    @classmethod
    def prepare(cls) -> None:
        """Import the runtime."""
        mnn.import_mnn()

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        from MNN import expr

        given = [_variable(expr, spec.name, inputs[spec.name]) for spec in self._inputs]
        made = self._module.forward(given)
        failed = SourceError(
            f"MNN failed on inputs that the signature allows: {_shapes(inputs)}",
            where=str(self.path),
            todo="A size may have been fixed while exporting: export with example inputs of this size",
        )
        if not isinstance(made, (list, tuple)) or len(made) != len(self.signature.outputs):
            raise failed
        try:
            return {
                spec.name: _array(expr, variable, shown(spec.dtype))
                for spec, variable in zip(self.signature.outputs, made, strict=True)
            }
        except SystemError as error:  # it has the output's shape and nothing in it
            raise failed from error

    def close(self) -> None:
        """Release the runtime's memory."""
        super().close()
        self._module = None


def _load(path: Path, signature: Signature, threads: int) -> Any:
    if not path.is_file():
        raise SourceError(
            f"The model file {path.name} does not exist", where=str(path), todo="Give the .mnn file"
        )
    runtime = mnn.import_mnn()
    found = path.with_suffix(".json")
    settings = json.loads(found.read_text()) if found.is_file() else mnn.FLOAT
    named = {spec.name for spec in signature.inputs}
    outputs = [spec.name for spec in signature.outputs]
    try:
        with mnn.quiet():
            known = _names(runtime.nn.load_module_from_file(str(path), [], []))
            if known <= named:  # an input that no operator reads may be absent
                manager = runtime.nn.create_runtime_manager(({**settings, "numThread": threads},))
                inputs = [spec.name for spec in signature.inputs if spec.name in known]
                return runtime.nn.load_module_from_file(str(path), inputs, outputs, runtime_manager=manager)
    except Exception as error:
        raise _unreadable(path, outputs) from error
    raise _unreadable(path, sorted(known - named))


def _names(module: Any) -> set[str]:
    return set(module.get_info()["inputNames"])


def _unreadable(path: Path, names: list[str]) -> SourceError:
    return SourceError(
        f"MNN cannot load {path.name} with what its signature names ({', '.join(names)})",
        where=str(path),
        todo="Check that the file arrived whole; if it did, export the model again",
    )


def _variable(expr: Any, name: str, value: np.ndarray) -> Any:
    """An array as MNN's variable.

    Raises:
        UsageError: It holds integers beyond 32 bits.
    """
    if value.dtype.kind == "f":
        return expr.const(narrowed(value, "float32", name, "MNN"), list(value.shape), expr.NCHW, expr.float)
    return expr.const(narrowed(value, "int32", name, "MNN"), list(value.shape), expr.NCHW, expr.int)


def _array(expr: Any, variable: Any, dtype: str) -> np.ndarray:
    """A variable's numbers, in its own memory layout's stead in that of the signature; a copy."""
    import numpy as np

    if variable.data_format == expr.NC4HW4:
        variable = expr.convert(variable, expr.NCHW)
    value: np.ndarray = np.array(variable.read()).reshape(variable.shape)
    return value.astype(dtype, copy=False)


def _shapes(inputs: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name}[{','.join(map(str, value.shape))}]" for name, value in inputs.items())
