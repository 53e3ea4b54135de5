"""mobile:mnn: MNN's own file form, made from ONNX by its converter and run here by its Python runtime.

Dimensions that may vary stay free, so that growing caches are served. MNN computes in float32 here ("precision" high);
its 8-bit and 4-bit forms hold weights, and quantize activations as the model runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.targets.cpu.onnxruntime import multiplications
from edgepack.targets.mobile._mnn_graph import nearer, ready
from edgepack.toolchain.answers import ANSWER_FILE, error_in, read_answer
from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.native_operators import refuse_native
from edgepack.toolchain.passes.pinned import pin_sizes
from edgepack.toolchain.passes.storage import save
from edgepack.toolchain.program import Lowered, Part, Program
from edgepack.toolchain.quantized import already_quantized
from edgepack.toolchain.results import Placement, Tool
from edgepack.toolchain.subprocesses import run_tool
from edgepack.toolchain.vendors import mnn

RUNTIME = Requirement(mnn.DISTRIBUTION, mnn.INSTALL)
WORKER = "edgepack.targets.mobile._mnn_worker"
BLOCK = 32
"""Weights that share a scale, with 4 bits."""
OPTIONS: dict[str, tuple[str, ...]] = {
    "fp32": (),
    "fp16-weights": ("--fp16",),
    "int8-weights": ("--weightQuantBits", "8"),
    "int4-weights": ("--weightQuantBits", "4", "--weightQuantBlock", str(BLOCK)),
}
"""Precision -> what the converter is told."""


@targets.register("mobile:mnn")
class Mnn(Target):
    """MNN on the CPU."""

    name = "mobile:mnn"
    title = "MNN on a mobile CPU"
    session = "mnn"
    lowered_session = "onnxruntime"

    def requirements(self) -> Sequence[Requirement]:
        """The package that has converter and runtime, in the extra `mnn`."""
        return (RUNTIME,)

    def lower_key(self) -> str:
        """The program's own ONNX form, once MNN has converted it."""
        return "onnx for mnn"

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """The cleaned graph in the words that MNN understands, after MNN has shown that it takes it.

        Raises:
            TargetError: It does not; operators that it lacks, or computes wrongly, are named.
            ToolchainFailedError: MNN crashed or hung on it.
        """
        del program
        model, signature = part.model(), part.signature
        refuse_native(model, self.name, part.name)
        if context.static and signature.symbols:
            pin_sizes(model, context.sizes)
            signature = signature.pinned(context.sizes)
        ready(model, part.name)
        lowered = Lowered(part.name, "onnx", save(model, folder, part.name), signature)
        with tempfile.TemporaryDirectory(prefix="edgepack-mnn-") as scratch:
            convert(lowered, context, Path(scratch) / "model.mnn", ())
        return lowered

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """Weight-only forms of 8, 4 and 16 bits, and fp32."""
        import onnx_ir as ir

        del rows
        model = ir.load(lowered.path)
        convolutions, products = multiplications(model.graph)
        none = coarse = None
        if already_quantized(model):
            none = "the model is quantized already: rounding it once more would only lose accuracy"
        elif not convolutions + products:
            none = "no convolution or matrix product with constant weights is in the graph"
        elif convolutions > products:
            coarse = "4 bits are too few for convolutions: EfficientNet-Lite0's scores had a cosine of 0.52"
        half = "the weights are float32 again while it runs: half the size, no speed"
        return (
            Offer("int8-weights", "by-compiler", not_built=none),
            Offer("int4-weights", "by-compiler", not_built=none or coarse),
            Offer("fp32"),
            Offer("fp16-weights", "by-compiler", not_built=none or half),
        )

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Write `<part>.mnn`, and the settings that it is to be run with into `<part>.json`.

        Raises:
            TargetError: MNN does not take the file.
            ToolchainFailedError: MNN crashed, hung, or changed nothing where weights were to be smaller.
        """
        import onnx_ir as ir

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{lowered.part}.mnn"
        with tempfile.TemporaryDirectory(prefix="edgepack-mnn-") as scratch:
            model = ir.load(lowered.path)
            # Beside weights of 8 bits what MNN approximates is exact enough, and faster.
            if mnn.settings(lowered.precision) == mnn.FLOAT and nearer(model):
                lowered = replace(lowered, path=save(model, Path(scratch), lowered.part))
            convert(lowered, context, path, OPTIONS[lowered.precision])
        config = folder / f"{lowered.part}.json"
        config.write_text(json.dumps(mnn.settings(lowered.precision), indent=1))
        return Compiled(
            files=(path.name, config.name),
            run_file=path.name,
            placement=Placement(accelerator=0, cpu=len(model.graph)),
            tool=Tool(name=RUNTIME.distribution, version=RUNTIME.version or "unknown"),
            notes=(f"run it with the settings in {config.name}: others compute with other precisions",),
        )


def convert(lowered: Lowered, context: Context, path: Path, options: Sequence[str]) -> None:
    """Convert a part's ONNX file, in a process of its own that opens no socket.

    Raises:
        TargetError: MNN does not take it.
        ToolchainFailedError: MNN crashed, hung or wrote nothing.
    """
    with tempfile.TemporaryDirectory(prefix="edgepack-mnn-") as scratch:
        request, answer = Path(scratch) / "request.json", Path(scratch) / ANSWER_FILE
        request.write_text(
            json.dumps(
                {
                    "input": str(lowered.path.resolve()),
                    "output": str(path.resolve()),
                    "part": lowered.part,
                    "options": list(options),
                    "answer": str(answer),
                }
            )
        )
        run_tool(
            "MNN's converter",
            [sys.executable, "-m", WORKER, str(request)],
            time_limit_s=context.time_limit_s,
            cwd=Path(scratch),
            expect=[answer],
        )
        error = error_in(read_answer(answer))
    if error is not None:
        raise error
    if not path.is_file() or path.stat().st_size == 0:
        raise ToolchainFailedError(
            "MNN's converter ended with exit code 0 and wrote no model", where=f"part {lowered.part}"
        )
