"""`onnx-weights`: weights of 4 or 8 bits in blocks, activations float. For decoding, and for size.

A product of few rows, as in a decode step, takes the time of reading its weights: fewer bits are faster. With many
rows (prefill, encoders) it was slower than float32. ONNX Runtime computes such products (MatMulNBits), with
`accuracy_level` 4 in int8, its input rounded block by block, else in float32.

Embedding tables become GatherBlockQuantized. Gemm, which ONNX Runtime's own quantizer passes over in silence, is a
product like any other here. How weights are rounded: `_onnx_blocks` (nearest, HQQ), `_onnx_gptq`, `_onnx_awq`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from edgepack.quantize._keep import kept_in_graph
from edgepack.quantize._onnx_awq import awq_factors
from edgepack.quantize._onnx_blocks import MIN_BLOCK, Blocks, dequantized
from edgepack.quantize._onnx_edit import drop_unused_constants
from edgepack.quantize._onnx_found import refuse_quantized
from edgepack.quantize._onnx_gptq import gptq
from edgepack.quantize._onnx_gram import moments
from edgepack.quantize._onnx_layers import Linear, linears, lookups, required_linears
from edgepack.quantize._onnx_nbits import DOMAIN, Rewriter, Rule
from edgepack.quantize._onnx_scaling import scale_inputs
from edgepack.quantize.base import CalibrationData, Feeds, Quantizer, quantizers
from edgepack.quantize.options import Names, Options, fixed
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.toolchain.program import Lowered

    Groups = Mapping[ir.Value, list[Linear]]

WITH_DATA = ("gptq", "awq")
MAX_SAMPLES = 128
"""What GPTQ's and AWQ's authors calibrate with: no more samples than these are run."""

_FOUR_BITS = 4


def _power_of_two(block: int) -> int:
    if block & (block - 1):
        msg = "no power of two"
        raise ValueError(msg)
    return block


class WeightsOptions(Options):
    """What weight-only quantization can be told."""

    bits: Literal[4, 8] = fixed(4, "bits of a weight")
    block: Annotated[int, AfterValidator(_power_of_two)] = Field(
        32, ge=MIN_BLOCK, description="weights that share a scale, a power of two from 16"
    )
    algorithm: Literal["rtn", "hqq", "gptq", "awq"] | None = Field(
        None,
        description="how weights are rounded: to nearest, half-quadratic (4 bits only), or by what the products' "
        "inputs are (gptq, awq), which needs data; by default gptq for 4 bits where there is data, else rtn",
    )
    symmetric: bool = Field(default=True, description='without zero points; a choice for "rtn" and "awq"')
    embeddings: bool = Field(
        default=True,
        description="whether embedding tables are quantized too, always to nearest and symmetric",
    )
    accuracy_level: Literal[0, 4] = Field(
        4,
        description="4 computes in int8, 0 in float32, as HQQ's float zero points make ONNX Runtime do anyway",
    )
    keep: Names = Field((), description="nodes that stay float, by name")


@quantizers.register("onnx-weights")
class OnnxWeights(Quantizer):
    """Weight-only 4 or 8 bits for MatMul, Gemm and Gather with constant float32 matrices."""

    format = "onnx"
    static = False
    uses_data = True
    options_type = WeightsOptions

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write `<part>.onnx` and its data file into `folder`.

        Args:
            lowered: The float model.
            precision: What the report calls it, "int4-weights" or "int8-weights"; `bits` decides.
            data: Inputs of the products, which "gptq" and "awq" need.
            folder: Where to write.
            options: Those of `WeightsOptions`.

        Raises:
            UsageError: An option has a value that does not exist, or calibration data is missing.
            TargetError: The model is quantized already, or has nothing to quantize.
        """
        import onnx_ir as ir

        from edgepack.toolchain.passes.storage import save

        where = f"part {lowered.part}"
        asked = WeightsOptions.of(options, "onnx-weights", where)
        algorithm = asked.algorithm or ("gptq" if asked.bits == _FOUR_BITS and data is not None else "rtn")
        rule = _rule(asked, algorithm, where)
        model = ir.load(lowered.path)
        refuse_quantized(model, lowered.part)
        graph = model.graph
        kept = kept_in_graph(asked.keep, graph, lowered.part)
        groups = required_linears(graph, lowered.part, kept)
        if algorithm in WITH_DATA and data is None:
            raise UsageError(
                f"The algorithm {algorithm} needs calibration data",
                where=where,
                todo="Give it with --calibration, or use the algorithm rtn or hqq",
            )
        samples: Sequence[Feeds] = data.samples[:MAX_SAMPLES] if data is not None else []
        notes = []
        if algorithm == "awq":
            scaled, folded = _scale(graph, groups, lowered.path, samples, rule)
            notes.append(
                f"inputs of {scaled} of {len(groups)} activations scaled, {folded} in normalizations"
            )
            groups = linears(graph, kept)
        done = dict(_solved(groups, lowered.path, samples, rule)) if algorithm == "gptq" else {}
        rewriter = Rewriter(graph, rule)
        products = [linear for group in groups.values() for linear in group]
        for linear in products:
            rewriter.product(linear, done.get(linear))
        tables = [
            table
            for table in lookups(graph, kept)
            if asked.embeddings and rule.packs(table.table.shape.numpy()[1])
        ]
        for table in tables:
            rewriter.lookup(table)
        drop_unused_constants(graph)
        graph.opset_imports.setdefault(DOMAIN, 1)
        path = save(model, folder, lowered.part)
        notes.insert(
            0,
            f"{len(products)} matrix products and {len(tables)} embedding lookups with {rule.bits}-bit weights, "
            f"{algorithm}, blocks of {rule.block}",
        )
        return lowered.quantized(path, precision, len(products) + len(tables), *notes)


def _rule(asked: WeightsOptions, algorithm: str, where: str) -> Rule:
    if algorithm == "hqq" and asked.bits != _FOUR_BITS:
        raise UsageError(
            f"ONNX Runtime runs the float zero points of hqq with 4 bits only, not with {asked.bits}",
            where=where,
            todo="Use 4 bits, or another algorithm",
        )
    return Rule(
        asked.bits,
        asked.block,
        symmetric=asked.symmetric or algorithm == "gptq",
        hqq=algorithm == "hqq",
        accuracy_level=asked.accuracy_level,
    )


def _widths(groups: Groups) -> dict[str, int]:
    return {str(value.name): group[0].inputs for value, group in groups.items()}


def _matrix(linear: Linear) -> np.ndarray:
    return linear.oriented(array(linear.weight))


def _solved(
    groups: Groups, path: Path, samples: Sequence[Feeds], rule: Rule
) -> Iterator[tuple[Linear, Blocks]]:
    """GPTQ's blocks; they are kept, at an eighth to a quarter of the float weights' size."""
    named = {str(value.name): group for value, group in groups.items()}
    for name, found in moments(path, _widths(groups), samples):
        for linear in named[name]:
            yield linear, gptq(_matrix(linear), found.gram, rule.bits, rule.block)


def _scale(
    graph: ir.Graph, groups: Groups, path: Path, samples: Sequence[Feeds], rule: Rule
) -> tuple[int, int]:
    """Apply AWQ's factors; how many activations have any, and how many of them within a normalization."""
    named = {str(value.name): (value, group) for value, group in groups.items()}
    folded = []

    def rounded(weight: np.ndarray) -> np.ndarray:
        return dequantized(rule.round(weight), len(weight), rule.bits)

    for name, found in moments(path, _widths(groups), samples):
        value, group = named[name]
        factors = awq_factors([_matrix(linear) for linear in group], found, rounded)
        if factors is not None:
            folded.append(scale_inputs(graph, value, group, factors))
    return len(folded), sum(folded)
