"""`onnx-float16`: 16-bit floats, to store weights in, or to compute with.

Stored (fp16-weights, bf16-weights): w16 = round(w), y = f(x, float32(w16)). A Cast behind every weight widens it
again; ONNX Runtime does that once, when it loads the model, so that speed and memory while running are those of
float32.

- float16 (IEEE 754 binary16): relative error at most 2^-11, up to 65504; weights with larger values stay float32.
- bfloat16: float32's range, relative error at most 2^-8.

Computed with (fp16): the whole graph in float16, inputs and outputs in float32 (`_onnx_half`). There is no bf16
like it: ONNX Runtime's CPU provider has no bfloat16 kernels for products and convolutions. What it has is a session
option for ARM processors, `mlas.enable_gemm_fastmath_arm64_bfloat16`, which rounds the inputs of a
float32 file's products while it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from edgepack.quantize._keep import kept_in_graph, stays_float
from edgepack.quantize._onnx_edit import Builder, drop_unused_constants
from edgepack.quantize._onnx_found import refuse_quantized
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.quantize.options import Names, Options, fixed
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.toolchain.program import Lowered

MIN_ELEMENTS = 256
"""Smaller constants stay float32: they weigh nothing, and biases and bounds among them are best exact."""

_MAX_FLOAT16 = 65504.0
_MIN_OPSET = {"float16": 6, "bfloat16": 13}  # Cast


class Float16Options(Options):
    """What 16-bit floats can be told; everything follows from the precision."""

    storage: Literal["float16", "bfloat16"] = fixed("float16", "type that weights are stored in")
    compute: Literal["float32", "float16"] = fixed("float32", "type that the graph computes in")
    keep: Names = Field((), description="nodes that stay float, by name")


@quantizers.register("onnx-float16")
class OnnxFloat16(Quantizer):
    """Float32 initializers in 16 bits, or the whole computation; inputs and outputs stay as they are."""

    format = "onnx"
    static = False
    options_type = Float16Options

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write `<part>.onnx` and its data file into `folder`; `changed_nodes` counts the weights, or the nodes.

        Args:
            lowered: The float model.
            precision: What the report calls it: "fp16-weights", "bf16-weights", "fp16"; the options decide.
            data: Not used.
            folder: Where to write.
            options: Those of `Float16Options`.

        Raises:
            UnknownNameError: There is no such type.
            TargetError: The model is quantized already, nothing changes, or the operator set is too old.
        """
        import onnx_ir as ir

        from edgepack.toolchain.passes.storage import save

        del data
        where = f"part {lowered.part}"
        asked = Float16Options.of(options, "onnx-float16", where)
        storage = asked.storage
        model = ir.load(lowered.path)
        refuse_quantized(model, lowered.part)
        version = model.graph.opset_imports.get("", 0)
        if version < _MIN_OPSET[storage]:
            raise TargetError(
                f"Casts from {storage} need operator set {_MIN_OPSET[storage]}, the model has {version}",
                where=where,
                todo="Export the model again with a newer operator set",
            )
        kept = kept_in_graph(asked.keep, model.graph, lowered.part)
        if asked.compute == "float16":
            return _computed(lowered, precision, kept, folder)
        weights = [
            value
            for value in model.graph.initializers.values()
            if _is_weight(value) and not any(stays_float(user, kept) for user in value.consumers())
        ]
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


def _computed(lowered: Lowered, precision: str, kept: frozenset[str], folder: Path) -> Lowered:
    from edgepack.quantize._onnx_half import half_model
    from edgepack.toolchain.passes.storage import save

    model, count = half_model(lowered.path, kept)
    if not count:
        raise TargetError(
            "No node of the model computes on float32 tensors that float16 could replace",
            where=f"part {lowered.part}",
            todo="Use --precision fp32 for this target",
        )
    note = (
        f"{count} nodes in float16, inputs and outputs float32; computed in float32 where there is no kernel"
    )
    return lowered.quantized(save(model, folder, lowered.part), precision, count, note)


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
