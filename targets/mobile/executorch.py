"""mobile:executorch: `.pte` programs for ExecuTorch, delegated to XNNPACK, run here by its Python runtime.

ExecuTorch begins at torch.export's program: an ONNX source has none. Shapes are fixed. XNNPACK runs what its
partitioner takes; the rest runs in ExecuTorch's portable kernels, which are written for clarity and not for speed, and
each such operator is named with the reason.

Which precision suits which model was measured (one thread, x86-64, against ONNX Runtime in float32): dynamic int8 makes
a transformer 2.1 to 2.2 times as fast and leaves convolutions in float; static int8 makes a convolutional network
1.5 times as fast.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.targets.fixed import settled
from edgepack.targets.mobile._litert_lowering import pin, refuse_growing
from edgepack.targets.mobile.phases import Phase, Phases, Quantize, as_lowered, lower_each
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.native_operators import refuse_native
from edgepack.toolchain.program import Lowered, Part, Program, Signature
from edgepack.toolchain.results import Placement, Tool
from edgepack.toolchain.vendors import executorch
from edgepack.toolchain.vendors.executorch import Facts

RUNTIME = Requirement(executorch.DISTRIBUTION, executorch.INSTALL)
QUANTIZER = Requirement(executorch.QUANTIZER, executorch.INSTALL)
WORKER = "edgepack.targets.mobile._executorch_worker"
METHODS_WORKER = "edgepack.targets.mobile._executorch_methods_worker"
JOINT = "program.pte"
_CONVOLUTIONAL = 0.5
"""Share of the multiplications from which a model counts as a convolutional network."""


@targets.register("mobile:executorch")
class ExecuTorch(Target):
    """ExecuTorch with XNNPACK, on the CPU."""

    name = "mobile:executorch"
    title = "ExecuTorch on a mobile CPU, XNNPACK"
    session = "executorch"
    static_shapes = True

    def requirements(self) -> Sequence[Requirement]:
        """Compiler and runtime, and the quantizer's package, in the extra `executorch`."""
        return (RUNTIME, QUANTIZER)

    def check(self) -> None:
        """As every target; and the version must be one whose interfaces are known."""
        super().check()
        executorch.check_version(self.name)

    def lower_key(self) -> str:
        """Its own: ExecuTorch's program in floating point."""
        return "executorch"

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """The part from its torch source, at fixed sizes, compiled in floating point.

        Raises:
            TargetError: The source is no torch model, the model has native operators or a growing state, or
                ExecuTorch does not take it.
            UsageError: A named dimension has no size.
            ToolchainFailedError: ExecuTorch crashed, hung or wrote no program.
        """
        if program.source.get("kind") == "onnx":
            raise TargetError(
                "ExecuTorch compiles torch.export's programs, and an ONNX file holds none",
                where=self.name,
                todo="Give the PyTorch model itself (a Hugging Face folder, module:factory, file.py:factory or "
                ".pt2), or use --target mobile:litert, which takes ONNX files",
            )
        self.check()
        refuse_native(part.model(), self.name, part.name)
        refuse_growing(self.name, program, part)
        signature = pin(part.signature, context.sizes, self.name)
        request = {
            "source": dict(context.source),
            "part": part.origin,
            "outputs": [spec.name for spec in signature.outputs],
            "sizes": dict(context.sizes),
            "threads": context.threads,
        }
        facts = executorch.ask(WORKER, request, part.name, folder, context.time_limit_s)
        signature = settled(signature, facts.outputs, self.name, f"part {part.name}")
        return Lowered(part.name, executorch.FORMAT, folder / executorch.PROGRAM_FILE, signature)

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """Dynamic int8 for products of matrices, static int8 for convolutions, and fp32."""
        del rows
        facts = Facts.of(lowered.path)
        none = None
        if not facts.convolutions + facts.products:
            none = "no convolution or product with a constant matrix is in the model"
        if facts.convolution_share > _CONVOLUTIONAL:
            float_ones = (
                f"{facts.convolution_share:.0%} of the multiplications are convolutions, "
                "which XNNPACK's dynamic quantizer leaves in float"
            )
            return (
                Offer("int8-static", "executorch-static", not_built=none),
                Offer("fp32"),
                Offer("int8-dynamic", "executorch-dynamic", not_built=none or float_ones),
            )
        worse = (
            "matrix products are most of the work: static int8 of a sentence encoder was slower than dynamic "
            "int8, and its mean cosine 0.87 where dynamic int8 had 0.999"
        )
        return (
            Offer("int8-dynamic", "executorch-dynamic", not_built=none),
            Offer("fp32"),
            Offer("int8-static", "executorch-static", not_built=none or worse),
        )

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Copy the program: lowering or the quantizer compiled it already."""
        del context
        folder.mkdir(parents=True, exist_ok=True)
        file = f"{lowered.part}.pte"
        shutil.copyfile(lowered.path, folder / file)
        facts = Facts.of(lowered.path)
        inputs = ", ".join(map(str, lowered.signature.inputs))
        outputs = ", ".join(map(str, lowered.signature.outputs))
        return Compiled(
            files=(file,),
            run_file=file,
            placement=Placement(
                accelerator=facts.delegated,
                cpu=len(facts.portable),
                reasons=list(facts.portable),
                device=executorch.DELEGATE,
            ),
            tool=Tool(name=executorch.DISTRIBUTION, version=facts.version),
            notes=(
                f"XNNPACK's subgraphs: {facts.subgraphs}; the rest runs in portable kernels on the same CPU",
                f"method {executorch.METHOD}, by position: ({inputs}) -> ({outputs})",
            ),
        )

    def phases(
        self,
        program: Program,
        context: Context,
        wanted: Mapping[str, Phase],
        folder: Path,
        quantize: Quantize = as_lowered,
    ) -> Phases:
        """One `.pte` with a method for each part, or for each size of a part, and every weight once (`phases.py`).

        Args:
            program: The program.
            context: The source and the sizes that all methods have in common.
            wanted: By the method's name.
            folder: Receives `program.pte`.
            quantize: What a method's program is quantized by; not at all by default.

        Raises:
            TargetError: As of `lower` and `methods`.
            UsageError: A named dimension has no size.
            ToolchainFailedError: ExecuTorch crashed, hung or wrote no program.
        """
        with tempfile.TemporaryDirectory(prefix="edgepack-executorch-") as scratch:
            made = lower_each(self, program, context, wanted, quantize, Path(scratch))
            return self.methods(made, context, folder)

    def methods(self, made: Mapping[str, Lowered], context: Context, folder: Path) -> Phases:
        """One `.pte` of lowered parts, quantized or not, each a method by its name here.

        Raises:
            TargetError: Two take and give the same, or ExecuTorch does not take them together.
            ToolchainFailedError: ExecuTorch crashed, hung or wrote no program.
        """
        signatures = {name: lowered.signature for name, lowered in made.items()}
        faces = [_face(signature) for signature in signatures.values()]
        if len(set(faces)) < len(faces):
            raise TargetError(
                f"Two of the methods {', '.join(made)} take and give tensors of the same sizes and types, and a "
                "session could not tell which one is meant: ExecuTorch's inputs and outputs have no names",
                where=self.name,
                todo="Give each another size, or export them as files of their own",
            )
        request = {
            "methods": {
                name: str(lowered.path.resolve().with_name(executorch.EXPORTED_FILE))
                for name, lowered in made.items()
            },
            "part": ", ".join(made),
            "threads": context.threads,
        }
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="methods-", dir=folder) as scratch:
            executorch.ask(METHODS_WORKER, request, ", ".join(made), Path(scratch), context.time_limit_s)
            path = (Path(scratch) / executorch.PROGRAM_FILE).rename(folder / JOINT)
        alone = sum(lowered.path.stat().st_size for lowered in made.values())
        return Phases(path, signatures, alone - path.stat().st_size)


def _face(signature: Signature) -> tuple[tuple[tuple[str, tuple[int | str, ...]], ...], ...]:
    """What the runtime knows of a method's inputs and outputs."""
    return tuple(
        tuple((spec.dtype, spec.shape) for spec in side) for side in (signature.inputs, signature.outputs)
    )
