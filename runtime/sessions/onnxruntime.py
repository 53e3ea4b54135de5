"""ONNX Runtime on the CPU, through its Python wheel.

Settings, the same for verification and for timing: the CPU execution provider only, all graph
optimizations (the runtime's default), `threads` within an operator and one between operators.

Spinning is off by default, although the runtime's own default is on. Idle pool threads that spin
take cores from whatever is timed next in the same process, which would spoil comparisons that run
candidates in turn; with one thread there is no pool and it makes no difference. The setting is
recorded with every measurement (`results.Environment.spinning`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.sessions import _onnxruntime_load as ort
from edgepack.runtime.sessions._checked import CheckedSession, check_runs
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.errors import SourceError, UsageError
from edgepack.toolchain.program import Signature

if TYPE_CHECKING:
    import numpy as np

    from edgepack.runtime.sessions._onnxruntime_profile import ExecutedNode
    from edgepack.toolchain.results import Profile, Tool

_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(string)": "object"}
_HALF = frozenset({"float16", "bfloat16"})


@sessions.register("onnxruntime")
class OnnxRuntimeSession(CheckedSession):
    """An `.onnx` file (with or without external weights) loaded into ONNX Runtime.

    Args:
        path: The model file.
        signature: The part's signature as the caller sees it.
        threads: Threads within one operator.
        spinning: Whether idle threads of the pool spin (`session.intra_op.allow_spinning`).

    Raises:
        SourceError: The file is missing, corrupt, not accepted by the runtime, or does not have
            the inputs and outputs of the signature.
        ToolchainMissingError: onnxruntime is not installed.
    """

    distribution = "onnxruntime"

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1, spinning: bool = False) -> None:
        super().__init__(path, signature, threads=threads)
        self.spinning = spinning
        self._session: Any = ort.load(path, ort.session_options(threads, spinning=spinning))
        self._casts = _match(self._session, signature, path)
        self._outputs = [spec.name for spec in signature.outputs]
        self._run_options = ort.run_options()

    @classmethod
    def prepare(cls) -> None:
        """Import the runtime."""
        ort.import_onnxruntime()

    @classmethod
    def tool(cls) -> Tool:
        """Name and version of the runtime."""
        from edgepack.toolchain.results import Tool

        return Tool(name="onnxruntime", version=ort.import_onnxruntime().__version__)

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = self._call(self._session, self._feed(inputs))
        return {
            spec.name: _shown(value, spec.dtype)
            for spec, value in zip(self.signature.outputs, values, strict=True)
        }

    def profile(self, inputs: Mapping[str, np.ndarray], runs: int = 20) -> Profile:
        """Per-operator times from the runtime's own profiler, per call, over `runs` calls.

        The time of a node is what its kernel took, less the nodes of its subgraphs (If, Loop,
        Scan), which are listed under their own operators. Two calls before them are left out.
        """
        from edgepack.runtime.sessions._onnxruntime_profile import operator_times
        from edgepack.toolchain.results import Profile

        check_runs(runs)
        events = self._events(inputs, runs, warm_up=2)
        return Profile(operators=operator_times(events, runs), tool=self.tool())

    def executed_nodes(self, inputs: Mapping[str, np.ndarray]) -> list[ExecutedNode]:
        """The nodes that one call really executes after graph optimization, and on which provider."""
        from edgepack.runtime.sessions._onnxruntime_profile import executed_nodes

        return executed_nodes(self._events(inputs, 1, warm_up=0))

    @classmethod
    def tensors(cls, path: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every tensor of one call by name, in graph order; see the function of this module."""
        return tensors(path, inputs)

    def close(self) -> None:
        """Release the runtime's memory."""
        super().close()
        self._session = None

    def _feed(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import numpy as np

        # numpy's own scalars, which indexing gives, pass the check and are no arrays to the runtime.
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        return {k: v.astype(self._casts[k]) if k in self._casts else v for k, v in arrays.items()}

    def _call(self, session: Any, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            values: list[np.ndarray] = session.run(self._outputs, feed, self._run_options)
        except Exception as error:
            raise ort.failed_run(error, self.path, feed) from error
        return values

    def _events(self, inputs: Mapping[str, np.ndarray], runs: int, *, warm_up: int) -> list[dict[str, Any]]:
        """The profiler's events of the last `runs` calls; a second session lives for as long as it takes."""
        import tempfile

        from edgepack.runtime.sessions._onnxruntime_profile import read_events

        self._check_inputs(inputs)
        feed = self._feed(inputs)
        with tempfile.TemporaryDirectory(prefix="edgepack-profile-") as folder:
            options = ort.session_options(self.threads, spinning=self.spinning)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "ort")
            session = ort.load(self.path, options)
            try:
                for _ in range(warm_up + runs):
                    self._call(session, feed)
            finally:
                trace = Path(session.end_profiling())
            return read_events(trace, skip_runs=warm_up)


def tensors(
    path: Path, inputs: Mapping[str, np.ndarray], names: Iterable[str] | None = None, *, threads: int = 1
) -> dict[str, np.ndarray]:
    """Values of intermediate tensors, in the order in which the graph computes them.

    A copy of the graph, in memory, names them all as outputs; weights in external files stay where
    they are and are mapped by the runtime. Fusions over an exposed tensor no longer take place, so
    every tensor of the file has a value; a fusion that computes wrongly does not show here.

    Args:
        path: The `.onnx` file.
        inputs: By name, as the file's own inputs want them.
        names: Which tensors; None for every output of every node of the main graph.
        threads: Threads within one operator.

    Returns:
        Tensors by name; values that are no tensors (sequences, optionals) are left out.

    Raises:
        UsageError: A name that no node of the main graph computes.
        SourceError: The model cannot be read, or fails on these inputs.
    """
    wanted, content = _exposed(path, None if names is None else set(names))
    session = ort.load(path, ort.session_options(threads, spinning=False), content)
    try:
        values = session.run(wanted, dict(inputs), ort.run_options())
    except Exception as error:
        raise ort.failed_run(error, path, inputs) from error
    return {name: value for name, value in zip(wanted, values, strict=True) if hasattr(value, "dtype")}


def _exposed(path: Path, names: set[str] | None) -> tuple[list[str], bytes]:
    """The tensors to fetch, in graph order, and the serialized model that has them as its outputs."""
    import onnx_ir as ir

    ort.check_file(path)
    try:
        model = ir.load(path)
    except Exception as error:
        raise ort.unreadable(path, error) from error
    computed = {value.name: value for node in model.graph for value in node.outputs if value.name}
    for name in sorted((names or set()) - computed.keys()):
        near = ", ".join(difflib.get_close_matches(name, computed, n=3)) or "none that is alike"
        raise UsageError(
            f"No node computes a tensor '{name}'", where=str(path), todo=f"Of its tensors, nearest: {near}"
        )
    wanted = [name for name in computed if names is None or name in names]
    model.graph.outputs.clear()
    model.graph.outputs.extend(computed[name] for name in wanted)
    return wanted, ir.to_proto(model).SerializeToString()


def _match(session: Any, signature: Signature, path: Path) -> dict[str, str]:
    """The inputs whose dtype in the file differs from the signature's (a float16 file): name -> file's dtype.

    Raises:
        SourceError: File and signature do not have the same inputs, or an output is missing.
    """
    found = {value.name: _dtype(value.type) for value in session.get_inputs()}
    given = {value.name for value in session.get_outputs()}
    wanted = {spec.name: spec.dtype for spec in signature.inputs}
    outputs = [spec.name for spec in signature.outputs]
    if found.keys() != wanted.keys() or not given.issuperset(outputs):
        raise SourceError(
            f"The file has the inputs {_list(found)} and the outputs {_list(given)}, and its signature says "
            f"{_list(wanted)} and {_list(outputs)}",
            where=str(path),
            todo="Export the model again: the file and its signature do not belong together",
        )
    return {name: dtype for name, dtype in found.items() if dtype not in (wanted[name], "object")}


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "(none)"


def _dtype(ort_type: str) -> str:
    """The name in numpy of a runtime's type such as "tensor(float)"."""
    return _DTYPES.get(ort_type, ort_type.removeprefix("tensor(").removesuffix(")"))


def _shown(value: np.ndarray, dtype: str) -> np.ndarray:
    wide = "float32" if dtype in _HALF else dtype
    return value if value.dtype.name == wide or value.dtype.kind in "OUS" else value.astype(wide)
