"""`onnx-static`: int8 weights and activations, ranges fixed by calibration, in QDQ form.

ONNX Runtime's own quantizer places the QuantizeLinear and DequantizeLinear pairs; the ranges are computed
here, in one pass over the samples with memory that does not grow (`_onnx_ranges`).

Weights are int8 per channel. Activations are uint8 on x86, whose VNNI instructions multiply uint8 by int8
(int8 by int8 ran at little more than float's speed there), and int8 on ARM. Biases make up for the mean error
of rounded weights (`_onnx_bias`). On request the float model is made easier to quantize first: matrix products by
SmoothQuant (`_onnx_smooth`), depthwise networks by cross-layer equalization (`_onnx_equalize`).
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.quantize._onnx_bias import correct_biases
from edgepack.quantize._onnx_equalize import equalize
from edgepack.quantize._onnx_found import refuse_quantized
from edgepack.quantize._onnx_qdq import ACTIVATIONS, INT8_OPS, fed_by_dequantize, insert_pairs
from edgepack.quantize._onnx_ranges import MERGES, PERCENT, RANGES, clipped_ranges, ranges
from edgepack.quantize._onnx_smooth import check_smooth, smooth_model
from edgepack.quantize._onnx_stem import stem
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.toolchain.errors import TargetError, UnknownNameError, UsageError

if TYPE_CHECKING:
    import onnx

    from edgepack.toolchain.program import Lowered

PRODUCTS = ("MatMul", "Gemm", "Gather")
"""Operators to quantize of a transformer: products, whose results stay float, and embeddings."""

_MIN_OPSET = 13  # per-channel QuantizeLinear and DequantizeLinear
_ENTROPY_BITS = 8


@quantizers.register("onnx-static")
class OnnxStatic(Quantizer):
    """Static int8 in QDQ form for the operators that ONNX Runtime has int8 kernels for."""

    format = "onnx"
    static = True

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write `<part>.onnx` and its data file into `folder`.

        Args:
            lowered: The float model.
            precision: "int8-static", or "int16x8-static" with activations of 16 bits.
            data: Samples that fix the ranges.
            folder: Where to write.
            options: `ranges`: "middle" (default), "min-max", "mean", "percentile", "entropy" or "mse", how they
                follow from the samples; `percent` (default 99.99): what "percentile" keeps; `activations`:
                "uint8" or "int8", by default what this machine's processor multiplies fastest, "uint16" or
                "int16", which ONNX Runtime computes in float; `symmetric` (default False): zero is in the middle
                of the activations' levels; `correct` (default True): whether biases make up for the
                rounding of weights; `smooth` (default None): exponent of SmoothQuant, from 0 to 1, or
                "outliers"; `equalize` (default False): cross-layer equalization of convolutions; `exclude`:
                names of nodes that stay float, by default the stem of an image network; `operators`: those
                to quantize, by default all that have int8 kernels. `PRODUCTS` with `smooth="outliers"` kept
                far more of a transformer's answers: the sums that run through all its layers stay float.

        Raises:
            UsageError: No calibration data, or an unknown option value.
            TargetError: The model is quantized already, nothing was quantized, or it does not run on the samples.
        """
        if data is None:
            raise UsageError(
                "Static quantization needs calibration data",
                where=f"part {lowered.part}",
                todo="Give it with --calibration",
            )
        activations = options.get("activations") or activation_type(platform.machine())
        if activations not in ACTIVATIONS:
            raise UnknownNameError("activation type", activations, ACTIVATIONS)
        operators = tuple(options.get("operators") or INT8_OPS)
        unknown = [name for name in operators if name not in INT8_OPS]
        if unknown:
            raise UnknownNameError("operator with an int8 kernel", str(unknown[0]), INT8_OPS)
        method = _method(options, ACTIVATIONS[activations])
        smooth = check_smooth(options.get("smooth"), data, lowered.part)
        with tempfile.TemporaryDirectory(prefix="edgepack-") as scratch:
            source, notes = _prepared(lowered, data, Path(scratch), smooth, options)
            model = _typed_model(source)
            tensors = _float_tensors(model)
            if not tensors:
                raise TargetError(
                    "The model computes with integers alone: there is no float32 tensor to quantize",
                    where=f"part {lowered.part}",
                    todo="Use --precision fp32, which keeps the file as it is",
                )
            if method in MERGES:
                found = ranges(source, tensors, data, method)
            else:
                percent = options.get("percent", PERCENT)
                bits = ACTIVATIONS[activations]
                found = clipped_ranges(source, tensors, data, method, bits=bits, percent=percent)
            exclude = tuple(options["exclude"]) if "exclude" in options else tuple(stem(model))
            corrected = correct_biases(model, source, data, exclude) if options.get("correct", True) else 0
        before = {node.name for node in model.graph.node}
        symmetric = bool(options.get("symmetric", False))
        quantized = insert_pairs(model, found, activations, exclude, operators=operators, symmetric=symmetric)
        changed = fed_by_dequantize(quantized, before, operators)
        if not changed:
            raise TargetError(
                "ONNX Runtime's quantizer changed no node",
                where=f"part {lowered.part}",
                todo="Use --precision fp32 for this target",
            )
        path = _save(quantized, folder, lowered.part)
        kept = f", {len(exclude)} nodes left float" if exclude else ""
        return lowered.quantized(
            path,
            precision,
            changed,
            f"activations {activations}{' symmetric' * symmetric}, weights int8 per channel, ranges by {method} "
            f"over {len(data.samples)} samples, {corrected} biases corrected{kept}",
            *notes,
        )


def _method(options: Mapping[str, Any], bits: int) -> Any:
    """How ranges are found; an UsageError when there is no such way, or not for so many bits."""
    method = options.get("ranges", "middle")
    if method not in RANGES:
        raise UnknownNameError("way to find ranges", str(method), RANGES)
    if method == "entropy" and bits > _ENTROPY_BITS:
        raise UsageError(
            f"Ranges by entropy are for activations of 8 bits, not of {bits}: so many levels lose nothing",
            todo="Use mse or percentile",
        )
    percent = options.get("percent", PERCENT)
    if not 0 < percent <= 100:  # noqa: PLR2004 - percent
        raise UsageError(f"A range cannot keep {percent} percent of the values", todo="Use 99.9 or 99.99")
    return method


def _prepared(
    lowered: Lowered,
    data: CalibrationData,
    scratch: Path,
    smooth: float | str | None,
    options: Mapping[str, Any],
) -> tuple[Path, list[str]]:
    """The float model to quantize, smoothed and equalized if that was asked for, and what to say of it."""
    import onnx_ir as ir

    from edgepack.toolchain.passes.storage import save

    model = ir.load(lowered.path)
    refuse_quantized(model, lowered.part)
    _check_opset(model.graph.opset_imports.get("", 0), lowered.part)
    notes = []
    if smooth is not None:
        notes.append(smooth_model(model, lowered.path, data, smooth, lowered.part))
    if options.get("equalize", False):
        count = equalize(model.graph)
        if not count:
            raise TargetError(
                "There is no pair of convolutions to equalize",
                where=f"part {lowered.part}",
                todo="Leave equalization out",
            )
        notes.append(f"{count} pairs of convolutions equalized")
    return (save(model, scratch, lowered.part) if notes else lowered.path), notes


def activation_type(machine: str) -> str:
    """Type of activations for a `platform.machine()`: "int8" on ARM, "uint8" elsewhere."""
    return "int8" if machine.lower().startswith(("arm", "aarch64")) else "uint8"


def _typed_model(path: Path) -> onnx.ModelProto:
    """The model with weights in memory and the type of every tensor inferred."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    # Inference reads no large weights, and a graph with them would not fit into protobuf above 2 GB.
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    onnx.load_external_data_for_model(model, str(path.parent))
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}:{index}"  # nodes are excluded by name
    return model


def _check_opset(version: int, part: str) -> None:
    if version < _MIN_OPSET:
        raise TargetError(
            f"Static quantization per channel needs operator set {_MIN_OPSET}, the model has {version}",
            where=f"part {part}",
            todo="Export the model again with a newer operator set",
        )


def _float_tensors(model: onnx.ModelProto) -> list[str]:
    """Names of all float32 activations, in graph order."""
    import onnx

    constants = {initializer.name for initializer in model.graph.initializer}
    infos = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    floats = {i.name for i in infos if i.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    names = [i.name for i in model.graph.input]
    names += [name for node in model.graph.node for name in node.output]
    return [name for name in dict.fromkeys(names) if name in floats and name not in constants]


def _save(model: onnx.ModelProto, folder: Path, part: str) -> Path:
    import onnx_ir as ir

    from edgepack.toolchain.passes.storage import save

    result = ir.serde.deserialize_model(model)
    result.graph.sort()  # ORT's quantizer appends nodes wherever it happens to be
    return save(result, folder, part)
