"""ONNX Runtime with states that stay where they are between calls.

Through `Session.run` every state would be handed over as a numpy array at each call. Here outputs that are
states come back as the runtime's own values (OrtValue) and are bound as inputs of the next call, so nothing is
copied between calls. A state that the graph updates by one scatter is moreover bound to the same buffer as input
and as output: the runtime's scatter then writes the new entries and copies nothing within the call either.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime.sessions import _onnxruntime_load as ort
from edgepack.runtime.sessions.onnxruntime import _match
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.program import Signature

if TYPE_CHECKING:
    import numpy as np

# ONNX Runtime's kernels of these copy the data only where input and output are not one buffer.
_SCATTERS = frozenset({"ScatterElements", "ScatterND"})


class StateSession:
    """An `.onnx` file whose states stay in the runtime.

    Args:
        path: The model file.
        signature: Of the part; the file must have its dtypes.
        keep: Outputs that come back as OrtValues, to be given as inputs later.
        shared: {input: output} that are bound to one buffer, of those that `in_place` found.
        threads: Threads within one operator.

    Raises:
        SourceError: The file is missing, corrupt, or not of this signature.
        UsageError: The file takes other dtypes than the signature says (a float16 file).
    """

    def __init__(
        self,
        path: Path,
        signature: Signature,
        *,
        keep: Collection[str],
        shared: Mapping[str, str] | None = None,
        threads: int = 1,
    ) -> None:
        self.path = path
        self.signature = signature
        self._keep = frozenset(keep)
        self._shared = dict(shared or {})
        self._session: Any = ort.load(path, ort.session_options(threads, spinning=False))
        casts = _match(self._session, signature, path)
        if casts:
            raise UsageError(
                f"The file takes {', '.join(f'{n} as {d}' for n, d in casts.items())}, which states cannot have here",
                where=str(path),
                todo="Generate with the fp32 or the int8-dynamic artifact",
            )
        self._options = ort.run_options()
        self._value: Any = ort.import_onnxruntime().OrtValue.ortvalue_from_numpy

    def call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """One call; every input an array or an OrtValue that an earlier call returned.

        What is given for a shared input, array or OrtValue, is written over: after the call it is the output.

        Raises:
            SourceError: The model fails on these inputs.
        """
        import numpy as np

        binding = self._session.io_binding()
        bound: dict[str, Any] = {}
        for spec in self.signature.inputs:
            value = inputs[spec.name]
            if isinstance(value, np.ndarray):
                value = self._value(np.asarray(value, order="C"))
            bound[spec.name] = value
            binding.bind_ortvalue_input(spec.name, value)
        buffers = {output: bound[name] for name, output in self._shared.items()}
        for spec in self.signature.outputs:
            if spec.name in buffers:
                binding.bind_ortvalue_output(spec.name, buffers[spec.name])
            else:
                binding.bind_output(spec.name, "cpu")
        try:
            self._session.run_with_iobinding(binding, self._options)
        except Exception as error:
            raise ort.failed_run(error, self.path, _arrays(inputs)) from error
        values = dict(zip((s.name for s in self.signature.outputs), binding.get_outputs(), strict=True))
        # The binding's own value of such a buffer would not keep a numpy array behind it alive.
        values |= buffers
        return {name: value if name in self._keep else value.numpy() for name, value in values.items()}

    def close(self) -> None:
        """Release the runtime's memory."""
        self._session = None


def in_place(path: Path, states: Mapping[str, str]) -> dict[str, str]:
    """Those of `states` {input: output} that may share one buffer.

    The output must be a scatter into the input, and nothing else may read the input: any other node could run
    after it was overwritten.

    Raises:
        SourceError: The file cannot be read.
    """
    import onnx_ir as ir

    ort.check_file(path)
    try:
        graph = ir.load(path).graph
    except Exception as error:
        raise ort.unreadable(path, error) from error
    inputs = {value.name: value for value in graph.inputs}
    outputs = {value.name: value for value in graph.outputs}
    found = {}
    for name, output in states.items():
        into, out = inputs.get(name), outputs.get(output)
        if into is None or out is None or into.is_graph_output():
            continue
        node = out.producer()
        if node is not None and node.op_type in _SCATTERS and node.domain == "":
            # Shape looks at no data.
            readers = [user for user, _ in into.uses() if user.op_type != "Shape"]
            if readers == [node] and node.inputs[0] is into:
                found[name] = output
    return found


def _arrays(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: value if hasattr(value, "dtype") else value.numpy() for name, value in inputs.items()}
