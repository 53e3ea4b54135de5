"""npu:coreml: an ML Program for Apple's Core ML, which gives its parts to the Neural Engine, the GPU or the CPU.

An artifact only. Core ML runs on Apple's systems alone, and coremltools for Linux neither runs a program nor says
where its operations would go. So nothing is claimed of the file that ships, neither numerics nor placement nor
latency: what is judged here is the ONNX graph that it was written from, and every report says so.

The graph is brought into Core ML's intermediate language operation by operation, with static shapes and in the types
that it has: the Neural Engine computes in 16-bit floats, so `fp16` is the graph as `onnx-float16` makes it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.targets.fixed import fixed
from edgepack.targets.npu import _coreml_graph as graphs
from edgepack.toolchain.errors import TargetError, ToolchainFailedError
from edgepack.toolchain.program import Lowered, Part, Program
from edgepack.toolchain.results import Placement, Tool
from edgepack.toolchain.vendors import coreml

UNVERIFIED = "Core ML runs on Apple's systems only: judged was the ONNX graph that the file was written from"
_NAMED = 8


@targets.register("npu:coreml")
class CoreMl(Target):
    """An `.mlpackage` for macOS 13, iOS 16 and later."""

    name = "npu:coreml"
    title = "Apple Core ML (Neural Engine), artifact only"
    session = "onnxruntime"
    static_shapes = True
    runs_here = False
    estimated = False
    float_precision = True
    unverified = UNVERIFIED

    def requirements(self) -> Sequence[Requirement]:
        """The converter in its isolated environment, and the host's runtime."""
        return (
            Requirement(coreml.DISTRIBUTION, coreml.SETUP, coreml.ENVIRONMENT),
            Requirement("onnxruntime", "pip install edgepack"),
        )

    def lower_key(self) -> str:
        """Its own: static shapes."""
        return "onnx for coreml"

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """The cleaned graph with every dimension a number.

        Raises:
            TargetError: The model has native operators, or came quantized.
        """
        from edgepack.toolchain.native_operators import refuse_native
        from edgepack.toolchain.passes.storage import save
        from edgepack.toolchain.quantized import already_quantized

        del program
        model = part.model()
        refuse_native(model, self.name, part.name)
        if already_quantized(model):
            raise TargetError(
                f"{self.name} takes models in floating point, and this one is quantized",
                where=f"part {part.name}",
                todo="Export the float model, or use another target",
            )
        signature = fixed(part, model, context.sizes, self.name)
        return Lowered(part.name, "onnx", save(model, folder, part.name), signature)

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """16-bit floats, which the Neural Engine computes with."""
        del lowered, rows
        wide = "the Neural Engine computes in 16-bit floats; Core ML gives 32-bit ones to the GPU or the CPU"
        return (Offer("fp16", "onnx-float16", {"compute": "float16"}), Offer("fp32", not_built=wide))

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Write the `.mlpackage`, and beside it the graph that it was written from.

        Raises:
            ToolchainMissingError: The isolated environment is not there.
            TargetError: An operator, type or shape has no place in Core ML.
            ToolchainFailedError: coremltools crashed, hung, failed, or wrote another program than it was asked for.
        """
        import onnx_ir as ir

        from edgepack.toolchain.passes.shapes import shapes

        self.check()
        folder.mkdir(parents=True, exist_ok=True)
        package = folder / f"{lowered.part}.mlpackage"
        with tempfile.TemporaryDirectory(prefix="coreml-", dir=folder.resolve()) as scratch:
            constants = Path(scratch) / "constants.npz"
            model = ir.load(lowered.path)
            shapes(model)  # a quantizer leaves what it added without
            graph = graphs.described(model, constants, self.name, lowered.part)
            made = Path(scratch) / package.name
            request = {"graph": graph, "constants": str(constants), "package": str(made)}
            answer = coreml.ask(request, Path(scratch), context.time_limit_s)
            if answer.get("unsupported"):
                raise _unsupported(answer["unsupported"], lowered.part)
            if answer.get("refused"):
                raise _refused(answer["refused"], lowered.part)
            files = self._checked(graph, answer, made)
            shutil.move(made, package)
        host = folder / f"{lowered.part}_host-check.onnx"
        ir.save(ir.external_data.load_to_model(ir.load(lowered.path)), host)
        count = sum(answer["operations"].values())
        return Compiled(
            files=tuple(f"{package.name}/{name}" for name in files),
            run_file=host.name,
            placement=Placement(accelerator=0, cpu=0),
            tool=Tool(
                name=coreml.DISTRIBUTION, version=coreml.ENVIRONMENT.version(coreml.DISTRIBUTION) or "unknown"
            ),
            notes=(
                f"not verified: {UNVERIFIED}",
                f"{count} operations; which of them the Neural Engine takes, Core ML decides on the device",
                "no latency: nothing of Core ML runs here",
                *_narrowed(lowered),
            ),
        )

    def _checked(self, graph: Mapping[str, Any], answer: Mapping[str, Any], package: Path) -> list[str]:
        """Files of the package, which must have the model, the inputs and outputs asked for, and operations."""
        names = [path for path in package.rglob("*") if path.is_file()] if package.is_dir() else []
        files = sorted(path.relative_to(package).as_posix() for path in names)
        if "Manifest.json" not in files or not any(name.endswith(".mlmodel") for name in files):
            raise ToolchainFailedError(f"{coreml.DISTRIBUTION} wrote no package", where=self.name)
        wanted = ([one["name"] for one in graph["inputs"]], list(graph["outputs"]))
        found = (answer.get("inputs"), answer.get("outputs"))
        if [sorted(one or ()) for one in found] != [sorted(one) for one in wanted]:
            raise ToolchainFailedError(
                f"{coreml.DISTRIBUTION} wrote a program with the inputs and outputs {found}, asked for were {wanted}",
                where=self.name,
            )
        if not isinstance(answer.get("operations"), dict) or not answer["operations"]:
            raise ToolchainFailedError(
                f"{coreml.DISTRIBUTION} wrote a program without operations", where=self.name
            )
        return files


def _narrowed(lowered: Lowered) -> tuple[str, ...]:
    wide = [spec.name for spec in lowered.signature.inputs if spec.dtype == "int64"]
    return (f"64-bit integer inputs are 32-bit in the file: {', '.join(wide)}",) if wide else ()


def _refused(found: Mapping[str, str], part: str) -> TargetError:
    return TargetError(
        f"npu:coreml cannot say {found['node']} ({found['op']}) in Core ML's language: {found['why']}",
        where=f"part {part}",
        todo="Export without this operator, or use another target",
    )


def _unsupported(found: Sequence[Mapping[str, str]], part: str) -> TargetError:
    kinds = sorted({str(one["op"]) for one in found})
    named = ", ".join(f"{one['node']} ({one['op']})" for one in found[:_NAMED])
    return TargetError(
        f"npu:coreml has no translation for {', '.join(kinds)}: {len(found)} node(s), {named}",
        where=f"part {part}",
        todo="Export without these operators, or use another target",
    )
