"""`qnn-qdq`: QDQ models as Qualcomm's HTP wants them, activations of 8 or 16 bits, weights of 8.

Which tensor gets which type is decided by ONNX Runtime's configuration for its QNN provider (`get_qnn_qdq_config`:
LayerNormalization's and MatMul's weights, Sigmoid's and Tanh's fixed scales, per-channel scales for convolutions only,
pairs around every operator and not only those with int8 kernels on a CPU). A QDQ model made for another runtime may
compile without an error and compute something else: MiniLM, signed and per channel, had a cosine of 0.85 to 0.92 in the
simulator with itself run as written. The ranges are computed here, in one pass over the samples with memory that does
not grow (`_onnx_ranges`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from edgepack.quantize._calibrating import required
from edgepack.quantize._keep import kept_in_graph, named_kept, read_float, with_activations
from edgepack.quantize._onnx_bias import correct_biases
from edgepack.quantize._onnx_bounds import with_extent
from edgepack.quantize._onnx_clips import clips_that_stay
from edgepack.quantize._onnx_copies import own_constants
from edgepack.quantize._onnx_found import refuse_quantized
from edgepack.quantize._onnx_headroom import with_headroom
from edgepack.quantize._onnx_one_range import SCATTERS, converted, one_range
from edgepack.quantize._onnx_qdq import fed_by_dequantize, quiet
from edgepack.quantize._onnx_ranges import FOR_STATES, ranges
from edgepack.quantize._onnx_smooth import Smooth, check_smooth, smooth_model
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.quantize.onnx_static import float_tensors, save_sorted, typed_model
from edgepack.quantize.options import Names, Options
from edgepack.toolchain.errors import TargetError, UsageError

if TYPE_CHECKING:
    import onnx

    from edgepack.toolchain.program import Lowered

_BOTH = "int16-static"
_WIDE = frozenset({"int16x8-static", _BOTH})


class QnnOptions(Options):
    """What quantization for the HTP can be told."""

    ranges: Literal["middle", "min-max", "mean"] | None = Field(
        None,
        description="how the ranges of activations follow from the samples; by default min-max with 16 bits and "
        "for a part with states, else middle",
    )
    weights: Literal["uint8", "int8", "int16"] = Field(
        "int8",
        description="type of weights: int8 is symmetric, as scales per channel must be; int16 is for matrix products "
        "beside activations of 16 bits, and leaves the rest uint8",
    )
    per_channel: bool = Field(
        default=True, description="whether every output channel of a convolution has a scale of its own"
    )
    correct: bool = Field(
        default=True, description="whether biases make up for the mean error of rounded int8 weights"
    )
    smooth: Smooth | None = Field(
        None, description="exponent of SmoothQuant from 0 to 1, or levelling of outliers only"
    )
    headroom: bool = Field(
        default=True, description="whether ranges of 16-bit activations are wider than what calibration saw"
    )
    keep: Names = Field((), description="nodes that stay float, by name")


@quantizers.register("qnn-qdq")
class QnnQdq(Quantizer):
    """Static quantization by the configuration of ONNX Runtime's QNN provider."""

    format = "onnx"
    static = True
    options_type = QnnOptions
    for_states = FOR_STATES

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write `<part>.onnx` and its data file into `folder`.

        Args:
            lowered: The float model, all dimensions numbers.
            precision: "int8-static", or with activations of 16 bits "int16x8-static", or "int16-static" whose products
                have weights of 16 bits too.
            data: Samples that fix the ranges.
            folder: Where to write.
            options: Those of `QnnOptions`.

        Raises:
            UsageError: No calibration data, or options that contradict one another.
            TargetError: The model is quantized already, nothing was quantized, or it does not run on the samples.
        """
        where = f"part {lowered.part}"
        asked = QnnOptions.of(options, "qnn-qdq", where)
        data = required(data, precision, lowered.part)
        if asked.per_channel and asked.weights != "int8" and "per_channel" in options:
            raise UsageError(
                "Scales per channel are for int8 weights: the HTP takes no zero points per channel",
                where=where,
                todo="Leave per_channel out, or take int8 weights",
            )
        wide = precision in _WIDE
        if asked.weights == "int16" and precision != _BOTH:
            raise UsageError(
                f"Weights of 16 bits are those of int16-static, and the precision is {precision}",
                where=where,
                todo="Use --precision int16-static",
            )
        with tempfile.TemporaryDirectory(prefix="edgepack-") as scratch:
            source, kept, notes = _prepared(lowered, data, Path(scratch), asked)
            model = typed_model(source)
            own_constants(model)
            tensors = float_tensors(model)
            if not tensors:
                raise TargetError(
                    "The model computes with integers alone: there is no float32 tensor to quantize",
                    where=where,
                    todo="Use --target cpu:onnxruntime, which keeps the file as it is",
                )
            how = asked.ranges or ("min-max" if wide else "middle")
            found = clips_that_stay(model, ranges(source, tensors, data, how))
            wider = wide and asked.headroom
            found = with_extent(model, with_headroom(model, found) if wider else found, wide=wide)
            kept = with_activations(model, kept)
            exclude = named_kept(model, kept)
            corrected = 0
            if asked.correct and asked.weights == "int8":
                corrected = correct_biases(model, source, data, exclude, per_channel=asked.per_channel)
            before = {node.name for node in model.graph.node}
            quantized, operators = insert_pairs(model, found, exclude, wide=wide, asked=asked)
        changed = fed_by_dequantize(quantized, before, operators, exclude)
        if kept:
            read_float(quantized, kept)
        if not changed:
            raise TargetError(
                "ONNX Runtime's quantizer changed no node",
                where=where,
                todo="Use another target: the HTP has nothing to compute here",
            )
        done = (
            f"by ONNX Runtime's configuration for QNN: activations uint{16 if wide else 8}, weights "
            f"{asked.weights}, ranges by {how} over {len(data.samples)} samples"
            + ", with headroom" * wider
            + f", {corrected} biases corrected" * bool(corrected)
            + f", {len(exclude)} nodes left float" * bool(exclude)
        )
        return lowered.quantized(
            save_sorted(quantized, folder, lowered.part), precision, changed, done, *notes
        )


def _prepared(
    lowered: Lowered, data: CalibrationData, scratch: Path, asked: QnnOptions
) -> tuple[Path, frozenset[str], list[str]]:
    """The float model to quantize, smoothed if asked for and fused as QNN wants it; kept nodes, and notes."""
    import onnx_ir as ir
    from onnxruntime.quantization.execution_providers.qnn import qnn_preprocess_model

    from edgepack.toolchain.passes.storage import save

    model = ir.load(lowered.path)
    refuse_quantized(model, lowered.part)
    kept = kept_in_graph(asked.keep, model.graph, lowered.part)
    smooth = check_smooth(asked.smooth, data, lowered.part)
    notes = []
    path = lowered.path
    if smooth is not None:
        notes.append(smooth_model(model, lowered.path, data, smooth, lowered.part))
        path = save(model, scratch, lowered.part)
    fused = scratch / "fused.onnx"
    with quiet():
        changed = qnn_preprocess_model(path, fused, save_as_external_data=True, all_tensors_to_one_file=True)
    if changed:
        notes.append("normalizations and shuffles fused into single operators")
    return (fused if changed else path), kept, notes


def insert_pairs(
    model: onnx.ModelProto, found: Any, exclude: list[str], *, wide: bool, asked: QnnOptions
) -> tuple[onnx.ModelProto, list[str]]:
    """The model with pairs where QNN's configuration puts them, and the types of operators that it quantizes.

    Args:
        model: The float model with weights in memory; it is used up.
        found: Lowest and highest value of every activation.
        exclude: Names of nodes that stay float.
        wide: Whether activations have 16 bits.
        asked: Options.
    """
    import numpy as np
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import CalibrationDataReader, TensorsData
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    class Nothing(CalibrationDataReader):  # type: ignore[misc]
        """The configuration carries a reader on; the ranges are known already."""

        def get_next(self) -> None:
            return None

    signed = asked.weights == "int8"
    activations = QuantType.QUInt16 if wide else QuantType.QUInt8
    own_constants(model, SCATTERS)
    found, fixed = one_range(model, found)
    overrides = {
        name: [{"quant_type": activations, "rmin": np.float32(low), "rmax": np.float32(high)}]
        for name, (low, high) in fixed.items()
    }
    overrides |= _wide_matrices(model) if asked.weights == "int16" else {}
    overrides |= _norm_scales(model, exclude) if signed and not wide else {}
    with quiet():
        config = get_qnn_qdq_config(
            model,
            Nothing(),
            activation_type=activations,
            weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            per_channel=asked.per_channel and signed,
            init_overrides=overrides or None,
            nodes_to_exclude=exclude or None,
        )
        quantizer = QDQQuantizer(
            model,
            per_channel=config.per_channel,
            reduce_range=False,
            weight_qType=config.weight_type,
            activation_qType=config.activation_type,
            tensors_range=TensorsData(CalibrationMethod.MinMax, dict(found)),
            nodes_to_quantize=[],
            nodes_to_exclude=exclude,
            op_types_to_quantize=config.op_types_to_quantize,
            extra_options=config.extra_options,
        )
        quantizer.quantize_model()
    made: onnx.ModelProto = quantizer.model.model
    converted(made)
    return made, sorted(config.op_types_to_quantize)


def _wide_matrices(model: onnx.ModelProto) -> dict[str, list[dict[str, Any]]]:
    """Types of the constant factors of matrix products: 16 bits, symmetric as the HTP wants those."""
    from onnxruntime.quantization import QuantType

    constants = {tensor.name for tensor in model.graph.initializer}
    found = {n.input[1] for n in model.graph.node if n.op_type in {"MatMul", "Gemm"}} & constants
    return {name: [{"quant_type": QuantType.QInt16, "symmetric": True}] for name in sorted(found)}


def _norm_scales(model: onnx.ModelProto, exclude: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Types of layer norms' scales beside activations of 8 bits: unsigned, or the HTP leaves the norm to the CPU."""
    from onnxruntime.quantization import QuantType

    constants = {tensor.name for tensor in model.graph.initializer}
    found = {
        node.input[1]
        for node in model.graph.node
        if node.op_type == "LayerNormalization" and node.name not in exclude
    }
    return {name: [{"quant_type": QuantType.QUInt8}] for name in sorted(found & constants)}
