"""ExecuTorch on the CPU, through its Python wheel: `.pte` programs, most of them delegated to XNNPACK.

Inputs and outputs of a program have no names: they come in the signature's order. A process has one pool of threads,
and a loaded program keeps hold of it: a second session with another number of threads is refused while one is open.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.sessions._checked import CheckedSession, check_runs
from edgepack.runtime.sessions._executorch_methods import chosen
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.errors import SourceError, UsageError
from edgepack.toolchain.program import Signature
from edgepack.toolchain.vendors.executorch import DISTRIBUTION, hushed, import_runtime, is_program

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.results import Profile

_WARM_UP = 2
_LONGEST = 400
_WIDENED = frozenset({"float16", "bfloat16"})
_open: weakref.WeakSet[ExecuTorchSession] = weakref.WeakSet()


@sessions.register("executorch")
class ExecuTorchSession(CheckedSession):
    """A program loaded into ExecuTorch.

    Args:
        path: The `.pte` file.
        signature: The part's signature as the caller sees it, with fixed shapes.
        threads: Threads within one operator.

    Raises:
        SourceError: The file is missing, corrupt, needs what the runtime lacks, or has other inputs and outputs than
            the signature.
        UsageError: Another session with another number of threads is open.
        ToolchainMissingError: ExecuTorch is not installed.
    """

    distribution = DISTRIBUTION

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1) -> None:
        super().__init__(path, signature, threads=threads)
        self._names = [spec.name for spec in signature.inputs]
        self._shown = [
            (spec.name, "float32" if spec.dtype in _WIDENED else spec.dtype) for spec in signature.outputs
        ]
        _share_threads(threads, path)
        self._program: Any
        self._method: Any
        self._program, self._method = _load(path, signature)
        _open.add(self)

    @classmethod
    def prepare(cls) -> None:
        """Import the runtime, and torch, which hands it its tensors."""
        import_runtime()

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        made = _execute(self._method, [_tensor(inputs[name]) for name in self._names], self.path)
        return {name: _array(value, dtype) for (name, dtype), value in zip(self._shown, made, strict=True)}

    def profile(self, inputs: Mapping[str, np.ndarray], runs: int = 20) -> Profile:
        """Per-operator times of one call, over `runs` calls, from the runtime's event trace (ETDump).

        XNNPACK's kernels bear its names, ExecuTorch's own are called portable; what XNNPACK's calls take beyond
        their kernels is a row of its own. Two calls before them are left out.
        """
        from edgepack.toolchain.results import Profile

        check_runs(runs)
        self._check_inputs(inputs)
        program, method = _load(self.path, self.signature, trace=True)
        if not program._program.has_etdump():  # noqa: SLF001 - the wrapper does not ask
            return Profile(missing="this build of ExecuTorch records no events")
        tensors = [_tensor(inputs[name]) for name in self._names]
        for _ in range(_WARM_UP + runs):
            _execute(method, tensors, self.path)
        with tempfile.TemporaryDirectory(prefix="edgepack-etdump-") as scratch:
            trace = Path(scratch) / "trace.etdp"
            program.write_etdump_result_to_file(str(trace), str(Path(scratch) / "debug.bin"))
            from edgepack.runtime.sessions._executorch_profile import operator_times

            rows = operator_times(trace, _WARM_UP)
        if not rows:
            return Profile(missing="ExecuTorch recorded no event in these calls")
        return Profile(operators=rows, tool=self.tool())

    def close(self) -> None:
        """Release the runtime's memory."""
        super().close()
        self._method = self._program = None
        _open.discard(self)


def _share_threads(threads: int, path: Path) -> None:
    """Give the process's pool that many threads.

    Raises:
        UsageError: A program is loaded that holds the pool as it is.
    """
    _, library = import_runtime()
    if library._threadpool_get_thread_count() == threads:  # noqa: SLF001 - the only name it has
        return
    other = next(iter(_open), None)
    if other is not None:
        raise UsageError(
            f"ExecuTorch has one pool of threads for a process, and {other.path.name} is open with {other.threads}",
            where=str(path),
            todo=f"Close that session first, or open this one with threads={other.threads}",
        )
    with hushed():
        library._unsafe_reset_threadpool(threads)  # noqa: SLF001 - unsafe while a program holds it: none does


def _load(path: Path, signature: Signature, *, trace: bool = False) -> tuple[Any, Any]:
    """The program and its method; the program must outlive it.

    Raises:
        SourceError: As of the session.
    """
    if not path.is_file():
        raise SourceError(
            f"The model file {path.name} does not exist", where=str(path), todo="Give the .pte file"
        )
    if not is_program(path):
        raise _unreadable(path, "it does not begin as ExecuTorch's programs do")
    runtime, _ = import_runtime()
    said: list[str] = []
    try:
        with hushed(said):
            program = runtime.get().load_program(path, enable_etdump=trace)
            metas = {name: program.metadata(name) for name in program.method_names}
            name = chosen(metas, signature, path)
            method = program.load_method(name)
    except RuntimeError as error:
        raise _unreadable(path, " ".join([*str(error).split(), *said])[:_LONGEST]) from error
    return program, method


def _tensor(value: np.ndarray) -> Any:
    import numpy as np
    import torch

    value = np.require(value, requirements=("C", "W"))
    if value.dtype.name == "bfloat16":
        return torch.from_numpy(value.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(value)


def _array(value: Any, dtype: str) -> np.ndarray:
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        made: np.ndarray = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    else:  # a number
        made = np.asarray(value)
    return made if made.dtype == dtype else made.astype(dtype)


def _execute(method: Any, tensors: list[Any], path: Path) -> Any:
    try:
        return method.execute(tensors)
    except RuntimeError as error:
        raise SourceError(
            f"The model fails in ExecuTorch on inputs that its signature allows: {' '.join(str(error).split())}"[
                :_LONGEST
            ],
            where=str(path),
            todo="Export the model again; if it fails still, use another target",
        ) from error


def _unreadable(path: Path, why: str) -> SourceError:
    return SourceError(
        f"ExecuTorch cannot load {path.name}: {why}",
        where=str(path),
        todo="Check that the file arrived whole; if it did, export the model again",
    )
