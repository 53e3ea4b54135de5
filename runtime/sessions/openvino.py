"""OpenVINO on the CPU, through its Python wheel: `.xml` with `.bin`, or an ONNX file as it is.

The file says in which precision it is to be computed (`vendors.openvino_ir`): the runtime's own default would be
bfloat16 wherever the processor has it, unasked. One stream, `threads` within an operator, tuned for latency.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.sessions._checked import CheckedSession, check_runs
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.program import Signature
from edgepack.toolchain.vendors.openvino_ir import DEVICE, PRECISION, import_openvino, settings_in

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.results import Profile

_HALF = frozenset({"float16", "bfloat16"})
_WARM_UP = 2
_LONGEST = 600  # characters of a runtime's message that still fit into a paragraph
_NO_TENSORS = frozenset({"Parameter", "Constant", "Result"})


@sessions.register("openvino")
class OpenVinoSession(CheckedSession):
    """A file loaded into OpenVINO's CPU plugin.

    Args:
        path: The `.xml` file, whose weights lie beside it in `.bin`, or an `.onnx` file.
        signature: The part's signature as the caller sees it.
        threads: Threads within one operator.

    Raises:
        SourceError: The file is missing, corrupt, not accepted by the runtime, or does not have the inputs and
            outputs of the signature.
        ToolchainMissingError: openvino is not installed.
    """

    distribution = "openvino"

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1) -> None:
        super().__init__(path, signature, threads=threads)
        model = _read(path)
        self._request: Any = _compile(model, path, threads).create_infer_request()
        places = _match(model, signature, path)
        self._made = [
            (spec.name, places[spec.name], "float32" if spec.dtype in _HALF else spec.dtype)
            for spec in signature.outputs
        ]
        self._known = _names(self._request)

    @classmethod
    def prepare(cls) -> None:
        """Import the runtime."""
        import_openvino()

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = _infer(self._request, self._known, inputs, self.path)
        return {name: _shown(values[index], dtype) for name, index, dtype in self._made}

    def profile(self, inputs: Mapping[str, np.ndarray], runs: int = 20) -> Profile:
        """Per-operator times from the runtime's own counters, per call, over `runs` calls.

        An operator is named with the kernel that ran it, whose name ends with its precision. Two calls before
        them are left out.
        """
        from edgepack.toolchain.results import OperatorTime, Profile

        check_runs(runs)
        self._check_inputs(inputs)
        request = _compile(_read(self.path), self.path, self.threads, PERF_COUNT="YES").create_infer_request()
        found: dict[str, tuple[int, float]] = {}
        for run in range(_WARM_UP + runs):
            _infer(request, self._known, inputs, self.path)
            if run < _WARM_UP:
                continue
            for info in request.profiling_info:
                if info.status == info.Status.EXECUTED:
                    name = f"{info.node_type} ({info.exec_type})"
                    calls, seconds = found.get(name, (0, 0.0))
                    found[name] = calls + 1, seconds + info.real_time.total_seconds()
        total = sum(seconds for _, seconds in found.values())
        rows = [
            OperatorTime(
                op=name,
                calls=round(calls / runs),
                time_ms=seconds / runs * 1e3,
                share=seconds / total if total else 0.0,
            )
            for name, (calls, seconds) in found.items()
        ]
        return Profile(operators=sorted(rows, key=lambda row: row.time_ms, reverse=True), tool=self.tool())

    @classmethod
    def tensors(cls, path: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every named float tensor of one call, in graph order.

        The file runs in its own precision, with every tensor as an output: kernels that would have been fused
        run one by one.
        """
        model = _read(path)
        names, ports = [], []
        for node in model.get_ordered_ops():
            if node.get_type_name() in _NO_TENSORS:
                continue
            for port in node.outputs():
                if port.names and port.get_element_type().is_real():
                    names.append(min(port.names, key=len))
                    ports.append(port)
        if ports:
            model.add_outputs(ports)
        request = _compile(model, path, 1).create_infer_request()
        _infer(request, _names(request), inputs, path)
        return {name: request.get_tensor(name).data.copy() for name in names}

    def close(self) -> None:
        """Release the runtime's memory."""
        super().close()
        self._request = None


def _read(path: Path) -> Any:
    """The model of a file, not compiled."""
    if not path.is_file():
        raise SourceError(
            f"The model file {path.name} does not exist", where=str(path), todo="Give the .xml or .onnx file"
        )
    if path.suffix == ".xml" and not _whole(path):
        # OpenVINO would try readers of other formats on it, one of which prints.
        raise _unreadable(path, ValueError("the file is no whole OpenVINO model"))
    openvino = import_openvino()
    try:
        return openvino.Core().read_model(path)
    except Exception as error:
        raise _unreadable(path, error) from error


def _whole(path: Path) -> bool:
    """Whether a file begins and ends as an IR does."""
    with path.open("rb") as file:
        head = file.read(64).lstrip()
        file.seek(max(0, path.stat().st_size - 64))
        return head.startswith((b"<?xml", b"<net")) and file.read().rstrip().endswith(b"</net>")


def _compile(model: Any, path: Path, threads: int, **more: str) -> Any:
    core = import_openvino().Core()
    asked = settings_in(model)
    if asked[PRECISION] == "bf16" and "BF16" not in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
        # The runtime does so without a word: right results, at another speed than the file was chosen for.
        warnings.warn(
            f"{path.name} is to be computed in bfloat16, which this processor does not have: OpenVINO computes "
            "it in float32. Its measured speed holds for another processor; export it again on this one.",
            RuntimeWarning,
            stacklevel=4,
        )
    try:
        return core.compile_model(model, DEVICE, {**asked, "INFERENCE_NUM_THREADS": threads, **more})
    except Exception as error:
        raise _unreadable(path, error) from error


def _names(request: Any) -> frozenset[str]:
    """Of the file's inputs: one that the model does not use may be absent from it."""
    return frozenset(name for port in request.model_inputs for name in port.names)


def _infer(request: Any, known: Collection[str], inputs: Mapping[str, np.ndarray], path: Path) -> Any:
    import numpy as np

    try:
        feed = {name: np.asarray(value) for name, value in inputs.items() if name in known}
        return request.infer(feed, share_inputs=True)
    except Exception as error:
        shapes = ", ".join(f"{name}[{','.join(map(str, value.shape))}]" for name, value in inputs.items())
        raise SourceError(
            f"The model fails in OpenVINO on inputs that its signature allows ({shapes}): {_words(error)}",
            where=str(path),
            todo="A size may have been fixed while exporting: export with example inputs of this size, or name "
            "the dimensions that vary",
        ) from error


def _match(model: Any, signature: Signature, path: Path) -> dict[str, int]:
    """The place of every output of the signature among the file's.

    Raises:
        SourceError: File and signature do not belong together.
    """
    given = [name for port in model.inputs for name in port.names]
    found = {name: index for index, port in enumerate(model.outputs) for name in port.names}
    inputs = {spec.name for spec in signature.inputs}
    strange = [port.any_name for port in model.inputs if not port.names & inputs]
    missing = [spec.name for spec in signature.outputs if spec.name not in found]
    if strange or missing:
        raise SourceError(
            f"The file has the inputs {', '.join(given) or '(none)'} and the outputs "
            f"{', '.join(found) or '(none)'}, and its signature says {', '.join(sorted(inputs)) or '(none)'} and "
            f"{', '.join(spec.name for spec in signature.outputs) or '(none)'}",
            where=str(path),
            todo="Export the model again: the file and its signature do not belong together",
        )
    return found


def _unreadable(path: Path, error: Exception) -> SourceError:
    return SourceError(
        f"OpenVINO cannot load {path.name}: {_words(error)}",
        where=str(path),
        todo="Check that the file and the weights beside it arrived whole; if they did, export the model again",
    )


def _words(error: Exception) -> str:
    """The runtime's message on one line, without its C++ places, shortened."""
    lines = [
        line
        for line in str(error).splitlines()
        if line and not line.startswith(("Exception from", "Check '"))
    ]
    text = (
        " ".join(" ".join(lines).split()).rstrip(". ") or " ".join(str(error).split()) or type(error).__name__
    )
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def _shown(value: np.ndarray, dtype: str) -> np.ndarray:
    return value if value.dtype == dtype else value.astype(dtype)
