"""Runs samples through a float ONNX graph and hands out figures about inner tensors, sample by sample.

The reductions are part of the graph, so that a sample costs one call and leaves a few small arrays behind:
memory does not grow with the number of samples, and samples may differ in size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain import onnx_sessions
from edgepack.toolchain.errors import TargetError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.quantize.base import Feeds

_AXES_ARE_INPUT = 18  # operator set from which ReduceMax and ReduceMin take their axes as an input

Probe = Callable[["ir.Value", int], Sequence[tuple[str, Sequence["ir.Node"]]]]
"""From a tensor and the operator set to (name of a result, nodes that compute it, the last giving it)."""


def observe(
    path: Path, tensors: Iterable[str], probe: Probe, samples: Iterable[Feeds]
) -> Iterator[dict[str, np.ndarray]]:
    """Run every sample and yield the probes' results by name.

    Args:
        path: The float model; it is not changed.
        tensors: Names of the graph's tensors to probe.
        probe: What to compute of each.
        samples: Inputs by name.

    Raises:
        UsageError: There is no sample, or one holds NaN.
        TargetError: ONNX Runtime cannot run the graph or a sample.
    """
    names, content = _augmented(path, list(tensors), probe)
    session = _session(content, path)
    count = 0
    for sample in samples:
        _refuse_nan(sample, count)
        count += 1
        yield dict(zip(names, _call(session, names, sample, path), strict=True))
    if not count:
        raise UsageError("The calibration data has no sample", todo="Give at least one sample")


def abs_peak_per_channel(widths: Mapping[str, int]) -> Probe:
    """Probe: the largest magnitude of every channel (last axis), under the tensor's own name.

    Args:
        widths: Number of channels of every tensor; the graph may not say so much as their rank.
    """

    def probe(value: ir.Value, version: int) -> Sequence[tuple[str, Sequence[ir.Node]]]:
        import numpy as np
        import onnx_ir as ir

        name = str(value.name)
        rows = ir.node("Constant", [], {"value": ir.Tensor(np.array([-1, widths[name]], np.int64))})
        flat = ir.node("Reshape", [value, rows.outputs[0]])
        magnitude = ir.node("Abs", [flat.outputs[0]])
        return [
            (name, [rows, flat, magnitude, *reduce_nodes("ReduceMax", magnitude.outputs[0], version, [0])])
        ]

    return probe


def extremes(value: ir.Value, version: int) -> Sequence[tuple[str, Sequence[ir.Node]]]:
    """Probe: the smallest and the largest value, as `<name>:min` and `<name>:max`."""
    return [
        (f"{value.name}:min", reduce_nodes("ReduceMin", value, version)),
        (f"{value.name}:max", reduce_nodes("ReduceMax", value, version)),
    ]


def reduce_nodes(op: str, value: ir.Value, version: int, axes: list[int] | None = None) -> list[ir.Node]:
    """A reduction over `axes`, by default all of them, that keeps no dimension for them."""
    import numpy as np
    import onnx_ir as ir

    if axes is None:
        return [ir.node(op, [value], {"keepdims": 0})]
    if not axes:
        return [ir.node("Identity", [value])]
    if version < _AXES_ARE_INPUT:
        return [ir.node(op, [value], {"keepdims": 0, "axes": axes})]
    constant = ir.node("Constant", [], {"value": ir.Tensor(np.array(axes, np.int64))})
    return [constant, ir.node(op, [value, constant.outputs[0]], {"keepdims": 0})]


def _augmented(path: Path, tensors: list[str], probe: Probe) -> tuple[list[str], bytes]:
    import onnx_ir as ir

    model = ir.load(path)
    graph = model.graph
    values = {value.name: value for value in graph.inputs}
    values |= {value.name: value for node in graph for value in node.outputs}
    graph.outputs.clear()
    names: list[str] = []
    for tensor in tensors:
        for name, nodes in probe(values[tensor], graph.opset_imports.get("", 1)):
            for number, node in enumerate(nodes):
                node.outputs[0].name = f"probe:{len(names)}:{number}"
                graph.append(node)
            result = nodes[-1].outputs[0]
            result.name = f"probe:{len(names)}"
            result.type = ir.TensorType(ir.DataType.FLOAT)
            names.append(name)
            graph.outputs.append(result)
    proto = ir.serde.serialize_model(model)
    del proto.graph.value_info[:]
    content: bytes = proto.SerializeToString()
    return names, content


def _session(content: bytes, path: Path) -> object:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.resolve().parent)
    )
    try:
        return onnx_sessions.opened(content, options)
    except Exception as error:  # ORT raises classes of its own, all below Exception
        raise TargetError(
            f"ONNX Runtime cannot load the float model for calibration: {error}",
            where=str(path),
            todo="Export the model again, or leave this precision out",
        ) from error


def _refuse_nan(sample: Feeds, index: int) -> None:
    """Reductions of ONNX Runtime may pass over a NaN, which would then spoil a range unseen."""
    import numpy as np

    for name, values in sample.items():
        if np.issubdtype(values.dtype, np.floating) and np.isnan(values).any():
            raise UsageError(
                f"Sample {index} of the calibration data holds NaN in '{name}'",
                todo="Look at how the samples were made, and leave this one out",
            )


def _call(session: object, names: Sequence[str], sample: Feeds, path: Path) -> list[np.ndarray]:
    try:
        return list(session.run([f"probe:{i}" for i in range(len(names))], dict(sample)))  # type: ignore[attr-defined]
    except Exception as error:
        raise TargetError(
            f"The float model does not run on a calibration sample: {error}",
            where=str(path),
            todo="Check the names, dtypes and shapes of the calibration data",
        ) from error
