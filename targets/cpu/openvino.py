"""cpu:openvino: OpenVINO's own file form (IR) for its CPU plugin, made from ONNX and run here.

How floats are computed is settled when a file is compiled, and is pinned (`vendors.openvino_ir`): "fp32" is float32
although the runtime's own default is bfloat16 wherever the processor has it; "bf16" and "int8-bf16" are bfloat16 and
are called so. After compiling, the kernels of one call are counted by the type that they computed in: a
precision that no kernel has is an error, whatever the file says.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.targets.cpu.onnxruntime import FEW_ROWS, multiplications, onnx_form
from edgepack.toolchain.answers import ANSWER_FILE, error_in, read_answer
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.native_operators import refuse_native
from edgepack.toolchain.program import Lowered, Part, Program, size_of, terms
from edgepack.toolchain.quantized import AS_GIVEN, already_quantized
from edgepack.toolchain.results import Placement, Tool
from edgepack.toolchain.subprocesses import run_tool
from edgepack.toolchain.vendors import openvino_ir

if TYPE_CHECKING:
    import onnx_ir as ir

RUNTIME = Requirement("openvino", openvino_ir.INSTALL)
QUANTIZER = Requirement("nncf", openvino_ir.INSTALL)
WORKER = "edgepack.targets.cpu._openvino_worker"
GROUP = 32
"""Activations that share a scale with int8-dynamic: OpenVINO's own default, and fixed here."""

_CONVOLUTIONAL = 0.5
_MATRIX, _NARROW = 2, 2  # axes; inputs per output
_STATIC = Offer("int8-static", "onnx-static")
_PRODUCTS_STATIC = replace(_STATIC, options={"operators": ("MatMul", "Gemm"), "smooth": "outliers"})
_BF16 = frozenset({"bf16", "int8-bf16"})
_NEEDS = {"bf16": "bf16", "int8-static": "int8", "int8-bf16": "int8"}
"""Precision -> type that at least one product must have been computed in."""
_SIZE = "weight-only forms are built when they are asked for by name: they save size first"


@targets.register("cpu:openvino")
class OpenVinoCpu(Target):
    """OpenVINO on the CPU."""

    name = "cpu:openvino"
    title = "OpenVINO on a CPU"
    session = "openvino"

    def requirements(self) -> Sequence[Requirement]:
        """The runtime and its quantizer, in the extra `openvino`."""
        return (RUNTIME, QUANTIZER)

    def lower_key(self) -> str:
        """The program's own ONNX form, once OpenVINO has read it."""
        return "onnx for openvino"

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """The cleaned graph as it is, after OpenVINO has shown that it takes it.

        Raises:
            TargetError: It does not; operators that it lacks are named.
            ToolchainFailedError: OpenVINO crashed or hung on it.
        """
        del program
        refuse_native(part.model(), self.name, part.name)
        lowered = onnx_form(part, context, folder)
        found = _work(lowered, context, openvino_ir.settings(), None)
        # What is offered depends on the processor: the note tells lowerings of different ones apart.
        return replace(
            lowered, notes=(f"OpenVINO's kernels for this processor: {', '.join(sorted(found['kinds']))}",)
        )

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """Int8 and bfloat16 forms, weight-only forms for few rows, and fp32."""
        import onnx_ir as ir

        model = ir.load(lowered.path)
        if already_quantized(model):
            why = "the model is quantized already: rounding it once more would only lose accuracy"
            return (Offer(AS_GIVEN), replace(_STATIC, not_built=why))
        convolutions, products = multiplications(model.graph)
        none = None
        if not convolutions + products:
            none = "no convolution or matrix product with constant weights is in the graph"
        convolutional = convolutions > _CONVOLUTIONAL * (convolutions + products)
        static = replace(_STATIC if convolutional else _PRODUCTS_STATIC, not_built=none)
        no_bf16 = None if _has(lowered, "BF16") else "this processor has no bfloat16 instructions"
        mixed = replace(static, precision="int8-bf16", not_built=none or no_bf16)
        if not convolutional:
            mixed = replace(mixed, options={**static.options, "keep": narrowing(model.graph)})
        return (
            mixed,
            Offer("bf16", "openvino-bf16", not_built=none or no_bf16),
            static,
            Offer("fp32"),
            *_weights(rows, none, no_bf16),
            Offer("fp16-weights", "openvino-weights", {"bits": 16}, not_built=none or _SIZE),
        )

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Write `<part>.xml`, `<part>.bin` and `<part>.json`, and see which kernels run.

        Raises:
            TargetError: OpenVINO does not take the file, or no kernel computes in the precision.
            ToolchainFailedError: OpenVINO crashed or hung.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{lowered.part}.xml"
        dynamic = lowered.precision == "int8-dynamic"
        values = openvino_ir.settings(
            "bf16" if lowered.precision in _BF16 else "f32",
            GROUP if dynamic else 0,
        )
        found = _work(lowered, context, values, path)
        _check(lowered, found)
        config = folder / f"{lowered.part}.json"
        config.write_text(json.dumps(values, indent=1))
        kinds = ", ".join(f"{count} in {name}" for name, count in sorted(found["products"].items()))
        return Compiled(
            files=(path.name, f"{lowered.part}.bin", config.name),
            run_file=path.name,
            placement=Placement(accelerator=0, cpu=int(found["nodes"])),
            tool=Tool(name=RUNTIME.distribution, version=RUNTIME.version or "unknown"),
            notes=(
                f"matrix products and convolutions computed here: {kinds or 'none'}",
                f"compile it with the settings in {config.name}: OpenVINO's own default may be another precision",
                *(
                    ("activations of compressed products are quantized within kernels that are named f32",)
                    * dynamic
                ),
            ),
        )


def narrowing(graph: ir.Graph) -> tuple[str, ...]:
    """Results of the products with at most half as many outputs as inputs, unless they are all of them.

    Behind a wide activation, whose channels differ most, 8 bits lose most. With the second product of every
    feed-forward block in bfloat16 a sentence encoder's mean cosine rose from 0.9981 to 0.9990, and the share of
    sentences (of 600) with the same nearest neighbour from 93.5 % to 95.8 %.
    """
    wide, narrow = list[str](), list[str]()
    for node in graph:
        weight = node.inputs[1] if node.op_type in {"MatMul", "Gemm"} else None
        if (
            weight is None
            or weight.const_value is None
            or len(shape := weight.const_value.shape.numpy()) != _MATRIX
        ):
            continue
        rows, columns = (
            shape[::-1] if "transB" in node.attributes and node.attributes["transB"].as_int() else shape
        )
        (narrow if rows >= _NARROW * columns else wide).append(str(node.outputs[0].name))
    return tuple(narrow) if wide else ()


def _weights(rows: int | None, none: str | None, no_bf16: str | None) -> Sequence[Offer]:
    """The weight-only forms, which gain where few rows are multiplied; int8-dynamic also where bf16 is missing."""
    many = f"weight-only forms gain up to {FEW_ROWS} rows, as in a decode step: {rows or 'an unknown number of'} here"
    few = rows is not None and rows <= FEW_ROWS
    # 128 rows of a sentence encoder: 1.6 times float32's speed where bfloat16 had 2.4 times
    slower = None if few or no_bf16 else "bfloat16 is faster than int8-dynamic with more than a few rows"
    return (
        Offer("int4-weights", "openvino-weights", {"bits": 4}, not_built=none or (None if few else many)),
        Offer("int8-weights", "openvino-weights", {"bits": 8}, not_built=none or (None if few else many)),
        Offer("int8-dynamic", "openvino-weights", {"bits": 8}, not_built=none or slower),
    )


def _has(lowered: Lowered, kind: str) -> bool:
    return any(kind in note.partition(": ")[2].split(", ") for note in lowered.notes)


def _work(
    lowered: Lowered, context: Context, settings: Mapping[str, str], output: Path | None
) -> dict[str, Any]:
    """Convert and compile in a process of its own; its answer."""
    sizes = dict(context.sizes)
    inputs = {
        spec.name: (
            [_size(dim, sizes) for dim in spec.shape],
            "float32" if spec.dtype == "bfloat16" else spec.dtype,
        )
        for spec in lowered.signature.inputs
    }
    with tempfile.TemporaryDirectory(prefix="edgepack-openvino-") as scratch:
        request, answer = Path(scratch) / "request.json", Path(scratch) / ANSWER_FILE
        request.write_text(
            json.dumps(
                {
                    "input": str(lowered.path.resolve()),
                    "output": str(output.resolve()) if output else None,
                    "settings": dict(settings),
                    "part": lowered.part,
                    "inputs": inputs,
                    "answer": str(answer),
                }
            )
        )
        run_tool(
            "openvino",
            [sys.executable, "-m", WORKER, str(request)],
            time_limit_s=context.time_limit_s,
            cwd=Path(scratch),
            # A model without weights has an empty .bin, which the worker reads.
            expect=[answer, *([output] if output else [])],
            env=openvino_ir.QUIET,
        )
        found = read_answer(answer)
    error = error_in(found)
    if error is not None:
        raise error
    return found


def _size(dim: int | str, sizes: Mapping[str, int]) -> int:
    """A size for the one call that shows the kernels."""
    return size_of(dim, dict.fromkeys(terms(dim), 1) | dict(sizes))


def _check(lowered: Lowered, found: Mapping[str, Any]) -> None:
    """Raise TargetError when nothing was computed in the precision that was asked for."""
    wanted = _NEEDS.get(lowered.precision)
    if wanted and not found["products"].get(wanted):
        raise TargetError(
            f"{lowered.precision} changed nothing: OpenVINO computes no product in {wanted} on this processor",
            where=f"part {lowered.part}",
            todo="Use --precision fp32 for this target, or export on a processor that has it",
        )
    if lowered.precision == "int8-bf16" and not found["any"].get("bf16"):
        raise TargetError(
            "int8-bf16 is the same as int8-static: OpenVINO computes nothing in bf16 on this processor",
            where=f"part {lowered.part}",
            todo="Use --precision int8-static, or export on a processor that has bfloat16",
        )
