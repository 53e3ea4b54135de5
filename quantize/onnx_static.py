"""`onnx-static`: int8 weights and activations, ranges fixed by calibration, in QDQ form.

ONNX Runtime's own quantizer places the QuantizeLinear and DequantizeLinear pairs; the ranges are computed
here, in one pass over the samples with memory that does not grow (`_onnx_ranges`).

Weights are int8 per channel. Activations are uint8 on x86, whose VNNI instructions multiply uint8 by int8
(int8 by int8 ran at little more than float's speed there), and int8 on ARM. Biases make up for the mean error
of rounded weights (`_onnx_bias`).
"""

from __future__ import annotations

import contextlib
import logging
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.quantize._onnx_bias import correct_biases
from edgepack.quantize._onnx_ranges import MERGES, ranges
from edgepack.quantize._onnx_stem import stem
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.toolchain.errors import TargetError, UnknownNameError, UsageError

if TYPE_CHECKING:
    import onnx

    from edgepack.toolchain.program import Lowered

# Operators for which ONNX Runtime's CPU provider has int8 kernels, and those that only move values. Its quantizer
# would also put pairs around normalizations, which run in float all the same, on rounded values.
_INT8_OPS = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "AveragePool", "GlobalAveragePool"),
    *("Clip", "Relu", "LeakyRelu", "Sigmoid", "Softmax", "Concat", "MaxPool", "ArgMax", "Where"),
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Resize", "Split", "Pad", "Slice", "Gather"),
)
_MIN_OPSET = 13  # per-channel QuantizeLinear and DequantizeLinear


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
            precision: "int8-static".
            data: Samples that fix the ranges.
            folder: Where to write.
            options: `merge`: "min-max", "mean" or "middle" (default), how samples are merged; `correct`
                (default True): whether biases make up for the rounding of weights; `activations`:
                "uint8" or "int8", by default what this machine's processor multiplies fastest;
                `exclude`: names of nodes that stay float, by default the stem of an image network.

        Raises:
            UsageError: No calibration data, or an unknown option value.
            TargetError: Nothing was quantized, or the model does not run on the samples.
        """
        if data is None:
            raise UsageError(
                "Static quantization needs calibration data",
                where=f"part {lowered.part}",
                todo="Give it with --calibration",
            )
        merge = options.get("merge", "middle")
        if merge not in MERGES:
            raise UnknownNameError("merge of ranges", merge, MERGES)
        activations = options.get("activations") or activation_type(platform.machine())
        model = _typed_model(lowered.path)
        _check_opset(model, lowered.part)
        found = ranges(lowered.path, _float_tensors(model), data, merge)
        exclude = tuple(options["exclude"]) if "exclude" in options else tuple(stem(model))
        corrected = correct_biases(model, lowered.path, data, exclude) if options.get("correct", True) else 0
        before = {node.name for node in model.graph.node}
        quantized = _insert_pairs(model, found, activations, exclude)
        changed = _fed_by_dequantize(quantized, before)
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
            f"activations {activations}, weights int8 per channel, ranges by {merge} over "
            f"{len(data.samples)} samples, {corrected} biases corrected{kept}",
        )


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


def _check_opset(model: onnx.ModelProto, part: str) -> None:
    version = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 0)
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


def _insert_pairs(
    model: onnx.ModelProto, found: dict[str, Any], activations: str, exclude: Sequence[str]
) -> onnx.ModelProto:
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    types = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
    if activations not in types:
        raise UnknownNameError("activation type", activations, types)
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=types[activations],
        tensors_range=TensorsData(CalibrationMethod.MinMax, found),
        nodes_to_quantize=[],
        nodes_to_exclude=list(exclude),
        op_types_to_quantize=list(_INT8_OPS),
        extra_options={},
    )
    with _quiet():
        quantizer.quantize_model()
    result: onnx.ModelProto = quantizer.model.model
    return result


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep ORT's quantizer from logging to the root logger: remarks on its own choices, one per tensor."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def _fed_by_dequantize(model: onnx.ModelProto, before: set[str]) -> int:
    """How many of the original nodes, by name, now compute on dequantized inputs.

    Not by output: that of a node which gives an output of the graph is renamed.
    """
    nodes = model.graph.node
    dequantized = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    pairs = ("QuantizeLinear", "DequantizeLinear")
    return sum(
        1
        for node in nodes
        if node.op_type not in pairs
        and dequantized.intersection(node.input)
        and node.name in before
    )


def _save(model: onnx.ModelProto, folder: Path, part: str) -> Path:
    import onnx_ir as ir

    from edgepack.toolchain.passes.storage import save

    result = ir.serde.deserialize_model(model)
    result.graph.sort()  # ORT's quantizer appends nodes wherever it happens to be
    return save(result, folder, part)
