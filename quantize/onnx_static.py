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
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from edgepack.quantize._calibrating import required
from edgepack.quantize._keep import kept_in_graph, named_kept, read_float, with_activations
from edgepack.quantize._onnx_bias import correct_biases
from edgepack.quantize._onnx_equalize import equalize
from edgepack.quantize._onnx_found import refuse_quantized
from edgepack.quantize._onnx_qdq import ACTIVATIONS, INT8_OPS, Int8Op, fed_by_dequantize, insert_pairs
from edgepack.quantize._onnx_ranges import FOR_STATES, MERGES, PERCENT, clipped_ranges, ranges
from edgepack.quantize._onnx_smooth import Smooth, check_smooth, smooth_model
from edgepack.quantize._onnx_stem import stem
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.quantize.options import Names, Options, split
from edgepack.toolchain.errors import TargetError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from edgepack.toolchain.program import Lowered

PRODUCTS = ("MatMul", "Gemm", "Gather")
"""Operators to quantize of a transformer: products, whose results stay float, and embeddings."""

_MIN_OPSET = 13  # per-channel QuantizeLinear and DequantizeLinear
_ENTROPY_BITS = 8
_WIDE = "int16x8"


class StaticOptions(Options):
    """What static quantization can be told."""

    ranges: Literal["middle", "min-max", "mean", "percentile", "entropy", "mse"] = Field(
        "middle",
        description="how the ranges of activations follow from the samples; of a part with states by default min-max",
    )
    percent: float = Field(
        PERCENT, gt=0, le=100, description='how many percent of the values "percentile" keeps'
    )
    activations: Literal["uint8", "int8", "uint16", "int16"] | None = Field(
        None,
        description="type of activations, by default what this machine's processor multiplies fastest; "
        "16 bits belong to int16x8-static, and ONNX Runtime computes them in float",
    )
    symmetric: bool = Field(
        default=False, description="whether zero is in the middle of the activations' levels"
    )
    per_channel: bool = Field(
        default=True, description="whether every output channel of a weight has a scale of its own"
    )
    correct: bool = Field(
        default=True, description="whether biases make up for the mean error of rounded weights"
    )
    smooth: Smooth | None = Field(
        None,
        description="exponent of SmoothQuant from 0 to 1 (0.5 in its paper), or levelling of outliers only",
    )
    equalize: bool = Field(
        default=False, description="whether the channels of neighbouring convolutions are evened out"
    )
    stem: bool = Field(default=True, description="whether the stem of an image network stays float")
    keep: Names = Field((), description="nodes that stay float, by name")
    operators: Annotated[tuple[Int8Op, ...], BeforeValidator(split)] | None = Field(
        None, description="operators to quantize, by default all that have int8 kernels"
    )


@quantizers.register("onnx-static")
class OnnxStatic(Quantizer):
    """Static int8 in QDQ form for the operators that ONNX Runtime has int8 kernels for."""

    format = "onnx"
    static = True
    options_type = StaticOptions
    for_states = FOR_STATES

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write `<part>.onnx` and its data file into `folder`.

        Args:
            lowered: The float model.
            precision: "int8-static", or "int16x8-static" with activations of 16 bits.
            data: Samples that fix the ranges.
            folder: Where to write.
            options: Those of `StaticOptions`. `operators=PRODUCTS` with `smooth="outliers"` kept far more of a
                transformer's answers than all operators: the sums that run through all its layers stay float.

        Raises:
            UsageError: No calibration data, or an unknown option value.
            TargetError: The model is quantized already, nothing was quantized, or it does not run on the samples.
        """
        where = f"part {lowered.part}"
        asked = StaticOptions.of(options, "onnx-static", where)
        data = required(data, precision, lowered.part)
        activations = _activations(asked, precision, where)
        operators = asked.operators or INT8_OPS
        smooth = check_smooth(asked.smooth, data, lowered.part)
        with tempfile.TemporaryDirectory(prefix="edgepack-") as scratch:
            source, kept, notes = _prepared(lowered, data, Path(scratch), smooth, asked)
            model = typed_model(source)
            found = _activation_ranges(model, source, data, asked, ACTIVATIONS[activations], where)
            kept = with_activations(model, kept)
            exclude = (*(stem(model) if asked.stem else ()), *named_kept(model, kept))
            corrected = (
                correct_biases(model, source, data, exclude, per_channel=asked.per_channel)
                if asked.correct
                else 0
            )
        before = {node.name for node in model.graph.node}
        quantized = insert_pairs(
            model, found, activations, exclude,
            operators=operators, symmetric=asked.symmetric, per_channel=asked.per_channel,
        )  # fmt: skip
        changed = fed_by_dequantize(quantized, before, operators, exclude)
        if kept:
            read_float(quantized, kept)
        if not changed:
            raise TargetError(
                "ONNX Runtime's quantizer changed no node",
                where=where,
                todo="Use --precision fp32 for this target",
            )
        path = save_sorted(quantized, folder, lowered.part)
        floats = f", {len(exclude)} nodes left float" if exclude else ""
        done = (
            f"activations {activations}{' symmetric' * asked.symmetric}, weights int8 per "
            f"{'channel' if asked.per_channel else 'tensor'}, ranges by {asked.ranges} "
            f"over {len(data.samples)} samples, {corrected} biases corrected{floats}"
        )
        return lowered.quantized(path, precision, changed, done, *notes, *_flat(found))


def _activations(asked: StaticOptions, precision: str, where: str) -> str:
    """Type of activations; an UsageError when it is not what the precision says, or ranges are not for it."""
    wide = precision.startswith(_WIDE)
    activations = asked.activations or ("int16" if wide else activation_type(platform.machine()))
    bits = ACTIVATIONS[activations]
    if (bits > _ENTROPY_BITS) != wide:
        raise UsageError(
            f"{precision} has activations of {16 if wide else 8} bits, not {activations}",
            where=where,
            todo=f"Use --precision {'int8-static' if wide else 'int16x8-static'}",
        )
    if asked.ranges == "entropy" and wide:
        raise UsageError(
            f"Ranges by entropy are for activations of 8 bits, not of {bits}: so many levels lose nothing",
            where=where,
            todo="Use mse or percentile",
        )
    return activations


def _prepared(
    lowered: Lowered,
    data: CalibrationData,
    scratch: Path,
    smooth: float | str | None,
    asked: StaticOptions,
) -> tuple[Path, frozenset[str], list[str]]:
    """The float model to quantize, smoothed and equalized if asked for, what kept nodes compute, and notes."""
    import onnx_ir as ir

    from edgepack.toolchain.passes.storage import save

    model = ir.load(lowered.path)
    refuse_quantized(model, lowered.part)
    _check_opset(model.graph.opset_imports.get("", 0), lowered.part)
    kept = kept_in_graph(asked.keep, model.graph, lowered.part)
    notes = []
    if smooth is not None:
        notes.append(smooth_model(model, lowered.path, data, smooth, lowered.part))
    if asked.equalize:
        count = equalize(model.graph)
        if not count:
            raise TargetError(
                "There is no pair of convolutions to equalize",
                where=f"part {lowered.part}",
                todo="Leave equalization out",
            )
        notes.append(f"{count} pairs of convolutions equalized")
    return (save(model, scratch, lowered.part) if notes else lowered.path), kept, notes


def _activation_ranges(
    model: onnx.ModelProto, source: Path, data: CalibrationData, asked: StaticOptions, bits: int, where: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The range of every float32 activation of `model`, whose file is `source`, over the samples."""
    tensors = float_tensors(model)
    if not tensors:
        raise TargetError(
            "The model computes with integers alone: there is no float32 tensor to quantize",
            where=where,
            todo="Use --precision fp32, which keeps the file as it is",
        )
    if asked.ranges in MERGES:
        return ranges(source, tensors, data, asked.ranges)
    return clipped_ranges(source, tensors, data, asked.ranges, bits=bits, percent=asked.percent)


def _flat(found: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """A note on activations that are one value in all samples, where there are some."""
    flat = sum(float(low) == float(high) for low, high in found.values())
    if not flat:
        return []
    return [f"{flat} of {len(found)} activations never varied over the samples: their range is a point"]


def activation_type(machine: str) -> str:
    """Type of activations for a `platform.machine()`: "int8" on ARM, "uint8" elsewhere."""
    return "int8" if machine.lower().startswith(("arm", "aarch64")) else "uint8"


def typed_model(path: Path) -> onnx.ModelProto:
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


def float_tensors(model: onnx.ModelProto) -> list[str]:
    """Names of all float32 activations, in graph order."""
    import onnx

    constants = {initializer.name for initializer in model.graph.initializer}
    infos = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    floats = {i.name for i in infos if i.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    names = [i.name for i in model.graph.input]
    names += [name for node in model.graph.node for name in node.output]
    return [name for name in dict.fromkeys(names) if name in floats and name not in constants]


def save_sorted(model: onnx.ModelProto, folder: Path, part: str) -> Path:
    """Write a model that the quantizer made into `folder`, its nodes in order; returns its file."""
    import onnx_ir as ir

    from edgepack.toolchain.passes.storage import save

    result = ir.serde.deserialize_model(model)
    result.graph.sort()  # ORT's quantizer appends nodes wherever it happens to be
    return save(result, folder, part)
