"""`onnx-dynamic`: int8 weights, activations quantized while the model runs. For matrix products, not for CNNs.

A product of a float activation x with a constant W becomes, in standard ONNX operators,

    q, s_x, z = DynamicQuantizeLinear(x / f)                    uint8, one scale per tensor and call
    y = float(MatMulInteger(q, W_q, z)) * (s_x * s_W)           W_q = int8(f W), s_W per output channel

which ONNX Runtime fuses, bias included, into one kernel. Products of the same x share one quantized x.
f evens out channels (`_onnx_channels`); without calibration data it is 1 and left out. Weights are
int8 with activations uint8: x86 multiplies that pair in one instruction (VNNI), and uint8 weights ran at
a third of the speed there. Per-channel scales are not optional: one scale per matrix cost a sentence encoder
its nearest neighbours.

Embedding tables become int8 with one scale per row, looked up together; this saves size, not time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from edgepack.quantize._keep import kept_in_graph
from edgepack.quantize._onnx_channels import channel_peaks
from edgepack.quantize._onnx_edit import Builder, drop_unused_constants
from edgepack.quantize._onnx_found import refuse_quantized
from edgepack.quantize._onnx_layers import Linear, Lookup, lookups, required_linears
from edgepack.quantize._onnx_smooth import OUTLIERS, Smooth, check_smooth, smooth_factors, smooth_note
from edgepack.quantize._onnx_weights import quantized
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.quantize.options import Names, Options
from edgepack.toolchain.errors import TargetError

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.toolchain.program import Lowered

_MIN_OPSET = 11  # DynamicQuantizeLinear


class DynamicOptions(Options):
    """What dynamic quantization can be told."""

    embeddings: bool = Field(default=True, description="whether embedding tables become int8")
    smooth: Smooth | None = Field(
        None,
        description="exponent of SmoothQuant from 0 to 1 (0.5 in its paper), or levelling of outliers only, "
        "which is done by default when there is data",
    )
    keep: Names = Field((), description="nodes that stay float, by name")


@quantizers.register("onnx-dynamic")
class OnnxDynamic(Quantizer):
    """Dynamic int8 for MatMul, Gemm and Gather with constant float32 matrices."""

    format = "onnx"
    static = False
    uses_data = True
    options_type = DynamicOptions

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write `<part>.onnx` and its data file into `folder`.

        Args:
            lowered: The float model.
            precision: "int8-dynamic".
            data: Samples by which outlier channels are found; None leaves that out.
            folder: Where to write.
            options: Those of `DynamicOptions`.

        Raises:
            UsageError: An option has a value that does not exist, or there is no data for smoothing.
            TargetError: Nothing in the graph can be quantized, or the operator set is too old.
        """
        import onnx_ir as ir

        from edgepack.toolchain.passes.storage import save

        asked = DynamicOptions.of(options, "onnx-dynamic", f"part {lowered.part}")
        smooth = check_smooth(asked.smooth, data, lowered.part)
        model = ir.load(lowered.path)
        refuse_quantized(model, lowered.part)
        graph = model.graph
        kept = kept_in_graph(asked.keep, graph, lowered.part)
        groups = required_linears(graph, lowered.part, kept)
        if graph.opset_imports.get("", 0) < _MIN_OPSET:
            raise TargetError(
                f"Dynamic quantization needs operator set {_MIN_OPSET}, the model has {graph.opset_imports['']}",
                where=f"part {lowered.part}",
                todo="Export the model again with a newer operator set",
            )
        widths = {str(value.name): group[0].inputs for value, group in groups.items()}
        peaks = channel_peaks(lowered.path, widths, data.samples) if data is not None else {}
        how = OUTLIERS if smooth is None else smooth
        factors = smooth_factors(groups, peaks, how) if data is not None else {}
        for value, group in groups.items():
            _quantize_group(graph, value, group, factors.get(str(value.name)))
        tables = list(lookups(graph, kept)) if asked.embeddings else []
        _quantize_lookups(graph, tables)
        drop_unused_constants(graph)
        products = sum(map(len, groups.values()))
        path = save(model, folder, lowered.part)
        notes = [f"{products} matrix products and {len(tables)} embedding lookups in int8"]
        if data is not None:
            notes.append(smooth_note(how, len(factors), len(groups)))
        return lowered.quantized(path, precision, products + len(tables), *notes)


def _quantize_group(
    graph: ir.Graph, value: ir.Value, group: list[Linear], factors: np.ndarray | None
) -> None:
    """Quantize all products of one activation, which is quantized once for all of them."""
    build = Builder(graph, f"{value.name}/int8")
    leveled = value
    if factors is not None:
        # A product, not a quotient: the factors of most channels are 1, and Mul is the cheaper operator.
        leveled = build.add("Mul", [value, build.constant(1 / factors, "level")])
    activation, scale, zero = build.add_many("DynamicQuantizeLinear", [leveled], 3)
    build.insert_before(group[0].node)
    for linear in group:
        _quantize_product(graph, linear, activation, scale, zero, factors)


def _quantize_product(
    graph: ir.Graph,
    linear: Linear,
    activation: ir.Value,
    scale: ir.Value,
    zero: ir.Value,
    factors: np.ndarray | None,
) -> None:
    import onnx_ir as ir

    def adjust(values: np.ndarray) -> np.ndarray:
        matrix = linear.oriented(values)
        return matrix if factors is None else matrix * factors[:, None]

    build = Builder(graph, f"{linear.node.outputs[0].name}/int8")
    weight, scales = quantized(linear.weight, 1, adjust, "weight")
    product = build.add("MatMulInteger", [activation, build.constant(weight, "weight"), zero])
    both = build.add("Mul", [scale, build.constant(scales, "scale")])
    result = build.add("Mul", [build.add("Cast", [product], {"to": ir.DataType.FLOAT.value}), both])
    if linear.bias is not None:
        result = build.add("Add", [result, linear.bias])
    build.replace(linear.node, result)


def _quantize_lookups(graph: ir.Graph, tables: list[Lookup]) -> None:
    """Look up int8 rows and their scales; a table that several nodes look up is stored once."""
    import onnx_ir as ir

    stored: dict[int, tuple[ir.Value, ir.Value]] = {}
    for lookup in tables:
        build = Builder(graph, f"{lookup.node.outputs[0].name}/int8")
        if id(lookup.table) not in stored:
            table, scales = quantized(lookup.table, 0, lambda values: values, "table")
            stored[id(lookup.table)] = (
                build.constant(table, "table"),
                build.constant(scales[:, None], "scale"),
            )
        rows, scale = (build.add("Gather", [value, lookup.indices]) for value in stored[id(lookup.table)])
        result = build.add("Mul", [build.add("Cast", [rows], {"to": ir.DataType.FLOAT.value}), scale])
        build.replace(lookup.node, result)
