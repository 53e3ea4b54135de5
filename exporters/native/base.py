"""Native exporters: architectures known well enough to be written from their weights alone.

Tracing a model in torch costs several seconds of interpreter time; writing the graph of a known
architecture from its configuration and its safetensors costs a fraction of one, and runs while the
source framework records the reference outputs in a process of its own. The result is verified
against that reference like any other; when it fails, or when the configuration holds anything that
the exporter does not know (`Declined`), the ladder goes on to tracing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

OPSET = 20


class Declined(Exception):  # noqa: N818 - an answer, not an error
    """The exporter does not know this configuration; the message says which part of it."""


Build = Callable[[Path, Mapping[str, Any], str], "ir.Model"]
"""(model's folder, its configuration, task) -> graph with part signature names; may raise Declined."""

natives: Registry[Build] = Registry("native exporter", "edgepack.exporters.native")


class Weights:
    """The tensors of a folder's safetensors files by name, read one at a time and only when saved.

    Args:
        files: Checked safetensors files.
        prefix: What every name starts with in the file and not in the architecture ("bert.").
    """

    def __init__(self, files: Sequence[Path], prefix: str = "") -> None:
        from safetensors import safe_open

        # Typed as Any: safetensors ships no types.
        opened: Any = safe_open
        self._where: dict[str, Any] = {}
        for path in files:
            file = opened(path, framework="np")
            for name in file.keys():  # noqa: SIM118 - a safetensors file is no dict
                self._where[name] = file
        if prefix and any(name.startswith(prefix) for name in self._where):
            self._where = {name.removeprefix(prefix): file for name, file in self._where.items()}
            self._prefix = prefix
        else:
            self._prefix = ""

    def lazy(self, name: str, *, transpose: bool = False) -> ir.TensorProtocol:
        """A tensor that is read from the file when it is written.

        Raises:
            Declined: It is not there, or not float32.
        """
        import onnx_ir as ir

        file = self._where.get(name)
        if file is None:
            raise Declined(f"the weight {name} is missing")
        part = file.get_slice(self._prefix + name)
        if part.get_dtype() != "F32":
            raise Declined(f"the weight {name} is {part.get_dtype()}, not F32")
        shape = part.get_shape()

        def read() -> ir.TensorProtocol:
            import numpy as np

            array: np.ndarray = file.get_tensor(self._prefix + name)
            return ir.Tensor(np.ascontiguousarray(array.T) if transpose else array, name=name)

        return ir.LazyTensor(
            read, ir.DataType.FLOAT, ir.Shape(shape[::-1] if transpose else shape), name=name, cache=False
        )


class Builder:
    """A graph under construction: operators by name, weights and constants as initializers."""

    def __init__(self, weights: Weights) -> None:
        import onnx_ir as ir

        self._ir = ir
        self._weights = weights
        self._nodes: list[ir.Node] = []
        self._initializers: dict[str, ir.Value] = {}

    def input(self, name: str, shape: tuple[int | str, ...]) -> ir.Value:
        """An int64 input of the graph."""
        return self._ir.Value(
            name=name, type=self._ir.TensorType(self._ir.DataType.INT64), shape=self._ir.Shape(shape)
        )

    def weight(self, name: str, *, transpose: bool = False) -> ir.Value:
        """An initializer from the weight files."""
        label = f"{name}_t" if transpose else name
        if label not in self._initializers:
            self._file(label, self._weights.lazy(name, transpose=transpose))
        return self._initializers[label]

    def constant(self, name: str, value: np.ndarray) -> ir.Value:
        """An initializer with `value`; one name, one value."""
        if name not in self._initializers:
            self._file(name, self._ir.Tensor(value, name=name))
        return self._initializers[name]

    def op(self, kind: str, inputs: Sequence[ir.Value | None], name: str, **attributes: Any) -> ir.Value:
        """Append one node with one output; node and output are both called `name`."""
        node = self._ir.node(kind, inputs, attributes or None, name=name)
        node.outputs[0].name = name
        self._nodes.append(node)
        return node.outputs[0]

    def model(self, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> ir.Model:
        """The finished model."""
        graph = self._ir.Graph(
            inputs,
            outputs,
            nodes=self._nodes,
            initializers=list(self._initializers.values()),
            opset_imports={"": OPSET},
            name="main",
        )
        return self._ir.Model(graph, ir_version=10, producer_name="edgepack")

    def _file(self, label: str, tensor: Any) -> None:
        self._initializers[label] = self._ir.Value(
            name=label, type=self._ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor
        )
