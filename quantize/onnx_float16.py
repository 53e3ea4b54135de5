"""`onnx-float16`: weights stored in 16 bits, computed with in float32. For the size of the file, and for nothing else.

    w16 = round(w)        y = f(x, float32(w16))

A Cast behind every weight widens it again; ONNX Runtime does that once, when it loads the model, so that speed and
memory while running are those of float32. Its CPU provider ran true float16 graphs at 0.7 to 1.0 times float32's
speed and has no bfloat16 kernels for products at all, so neither is offered.

- float16 (IEEE 754 binary16): relative error at most 2^-11, up to 65504; weights with larger values stay float32.
- bfloat16: float32's range, relative error at most 2^-8.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.quantize._onnx_edit import Builder, drop_unused_constants
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.toolchain.errors import TargetError, UnknownNameError
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.toolchain.program import Lowered

STORAGES = ("float16", "bfloat16")
MIN_ELEMENTS = 256
"""Smaller constants stay float32: they weigh nothing, and biases and bounds among them are best exact."""

_MAX_FLOAT16 = 65504.0
_MIN_OPSET = {"float16": 6, "bfloat16": 13}  # Cast


@quantizers.register("onnx-float16")
class OnnxFloat16(Quantizer):
    """Float32 initializers in 16 bits; inputs, outputs and computation stay as they are."""

    format = "onnx"
    static = False

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write `<part>.onnx` and its data file into `folder`; `changed_nodes` counts the weights.

        Args:
            lowered: The float model.
            precision: What the report calls it, "fp16-weights" or "bf16-weights"; `storage` decides.
            data: Not used.
            folder: Where to write.
            options: `storage`: "float16" (default) or "bfloat16".

        Raises:
            UnknownNameError: There is no such storage.
            TargetError: No weight can be stored so, or the operator set is too old.
        """
        import onnx_ir as ir

        from edgepack.toolchain.passes.storage import save

        del data
        where = f"part {lowered.part}"
        storage = options.get("storage", "float16")
        if storage not in STORAGES:
            raise UnknownNameError("storage", str(storage), STORAGES, where=where)
        model = ir.load(lowered.path)
        version = model.graph.opset_imports.get("", 0)
        if version < _MIN_OPSET[storage]:
            raise TargetError(
                f"Casts from {storage} need operator set {_MIN_OPSET[storage]}, the model has {version}",
                where=where,
                todo="Export the model again with a newer operator set",
            )
        weights = [value for value in model.graph.initializers.values() if _is_weight(value)]
        fitting = [v for v in weights if storage == "bfloat16" or _fits(v.const_value)]
        if not fitting:
            raise TargetError(
                f"There is no float32 weight of at least {MIN_ELEMENTS} values that {storage} can hold",
                where=where,
                todo="Use --precision fp32 for this target",
            )
        for value in fitting:
            _store(model.graph, value, ir.DataType[storage.upper()])
        drop_unused_constants(model.graph)
        path = save(model, folder, lowered.part)
        notes = [f"{len(fitting)} weights stored in {storage}; computation stays float32"]
        if len(fitting) < len(weights):
            notes.append(f"{len(weights) - len(fitting)} weights beyond {storage}'s range left in float32")
        return lowered.quantized(path, precision, len(fitting), *notes)


def _is_weight(value: ir.Value) -> bool:
    import onnx_ir as ir

    tensor = value.const_value
    if tensor is None or value.is_graph_input() or value.is_graph_output() or not value.uses():
        return False
    return tensor.dtype is ir.DataType.FLOAT and tensor.size >= MIN_ELEMENTS


def _fits(tensor: ir.TensorProtocol | None) -> bool:
    import numpy as np

    # Not above, so that NaN counts as not fitting.
    return tensor is not None and bool(np.abs(array(tensor)).max() <= _MAX_FLOAT16)


def _store(graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> None:
    """Put the narrow weight and its Cast in the place of a weight, in the main graph and its subgraphs."""
    import onnx_ir as ir

    tensor = value.const_value
    assert tensor is not None  # noqa: S101 - what _is_weight saw

    def compute() -> ir.TensorProtocol:
        return ir.Tensor(array(tensor).astype(dtype.numpy()), dtype=dtype)

    build = Builder(graph, f"{value.name}/{dtype.name.lower()}")
    narrow = ir.LazyTensor(compute, dtype=dtype, shape=ir.Shape(tensor.shape.numpy()))
    cast = build.add("Cast", [build.constant(narrow, "weight")], {"to": ir.DataType.FLOAT.value})
    cast.type, cast.shape = value.type, value.shape
    build.insert_before(graph[0])
    ir.convenience.replace_all_uses_with(value, cast)
