"""npu:qnn-htp-*: Qualcomm's Hexagon Tensor Processor, by onnxruntime-qnn in an isolated environment.

There is no HTP here. The compiler is the one that ships, and the context binary that it writes is run by its maker's
simulator for x86-64: that gives numerics. It gives no time: the profile that the simulator writes is the host's
(the same model took 193 and 269 million "cycles" on one machine), so nothing is claimed.

Compiling, never trusting an exit code:

1. a session in which the CPU is forbidden. If it opens, every node is on the HTP, and its assignment must say so;
2. if it does not, one in which the CPU is allowed, with the provider's reason for every node that it refused. One
   with nothing on the HTP is an error: a chip or library that is not found makes ONNX Runtime compute all on the CPU;
3. the context binary must name the architecture that was asked for;
4. a session that writes the graph as `.dlc`, for Qualcomm's own tools.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.targets.fixed import fixed
from edgepack.targets.npu import _qnn_placement as placement
from edgepack.targets.npu._macs import of_onnx
from edgepack.toolchain.errors import TargetError, ToolchainFailedError
from edgepack.toolchain.program import Lowered, Part, Program
from edgepack.toolchain.quantized import AS_GIVEN
from edgepack.toolchain.results import Placement
from edgepack.toolchain.rewrites import base as rewriting
from edgepack.toolchain.vendors import qnn

_PRODUCTS: Mapping[str, Any] = {"smooth": 0.25, "weights": "uint8"}
"""For matrix products, whose weights the HTP takes with one scale only. MiniLM with 16-bit activations, 20 sentences to
calibrate and 40 others to judge, mean and lowest cosine: 0.998 and 0.997; with an exponent of 0.5 0.993 and 0.988,
unsmoothed 0.987 and 0.978, int8 weights 0.998 and 0.995. Levelling outliers only, which is best where weights have a
scale per channel, moves them into the weights: 0.784 and 0.523."""
_HAS = ("LayerNormalization", "Gelu", "Div")
"""What needs no rewriting before it is refused."""
_WRONG: Mapping[int, tuple[str, ...]] = {8: ("Reciprocal",), 16: ("Reciprocal", "Log")}
"""What the HTP takes without a word and computes wrongly, by the width of activations (onnxruntime-qnn 2.7.0, v75, in
its simulator, one operator between its pairs against the same file on the CPU). 1/x of values up to 0.27 came out as
0.27/x, right only where values beyond 1 are among the range; the logarithm of 16 bits as one and the same number for
all of them. Quotients and logarithms of 8 bits were right."""


@dataclass(frozen=True)
class Chip:
    """One generation of the HTP, and the chip that stands for it.

    Attributes:
        arch: Architecture, as the compiler's option `htp_arch` takes it.
        soc_model: Number of the system-on-chip that it is compiled for, option `soc_model`.
        soc: The same as a context binary names it.
        title: For people.
        wide_weights: Whether it multiplies activations of 16 bits by weights of 16 bits; v68 leaves those to the CPU.
    """

    arch: str
    soc_model: str
    soc: str
    title: str
    wide_weights: bool = True


CHIPS = (
    Chip("68", "30", "SM8350", "Qualcomm Hexagon HTP v68 (Snapdragon 888)", wide_weights=False),
    Chip("73", "43", "SM8550", "Qualcomm Hexagon HTP v73 (Snapdragon 8 Gen 2)"),
    Chip("75", "57", "SM8650", "Qualcomm Hexagon HTP v75 (Snapdragon 8 Gen 3)"),
    Chip("79", "69", "SM8750", "Qualcomm Hexagon HTP v79 (Snapdragon 8 Elite)"),
    Chip("81", "87", "SM8850", "Qualcomm Hexagon HTP v81 (Snapdragon 8 Elite Gen 5)"),
)


class QnnHtp(Target):
    """An HTP of one generation; the subclasses below only say which."""

    chip: ClassVar[Chip]
    session = "qnn-htp"
    static_shapes = True
    host = "cpu:onnxruntime"
    lowered_session = "onnxruntime"
    runs_here = False
    estimated = False
    float_precision = False

    @property
    def device(self) -> str:
        """The accelerator's name in placements."""
        return f"qnn-htp-v{self.chip.arch}"

    def requirements(self) -> Sequence[Requirement]:
        """The compiler in its isolated environment, and the host's runtime."""
        setup = f"edgepack setup {self.name}"
        return (
            Requirement(qnn.DISTRIBUTION, setup, qnn.ENVIRONMENT),
            Requirement("onnxruntime", "pip install edgepack"),
        )

    def lower_key(self) -> str:
        """The lowering that all generations share."""
        return "onnx for qnn"

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """The cleaned graph with every dimension a number, which a context binary needs.

        Raises:
            TargetError: The model has native operators.
        """
        from edgepack.toolchain.native_operators import refuse_native
        from edgepack.toolchain.passes.storage import save
        from edgepack.toolchain.quantized import already_quantized

        del program
        model = part.model()
        refuse_native(model, self.name, part.name)
        signature = fixed(part, model, context.sizes, self.name)
        given = already_quantized(model)
        device = self.rewrites_for(context.precision or "", context.sizes)
        done = rewriting.apply(model, context.rewrites, device)
        path = save(model, folder, part.name)
        lowered = Lowered(part.name, "onnx", path, signature, notes=tuple(map(str, done)))
        return replace(lowered, precision=AS_GIVEN) if given else lowered

    def rewrites_for(self, precision: str, sizes: Mapping[str, int]) -> rewriting.Device:
        """What rewrites may know of it; sizes are fixed when it lowers, whatever is rewritten."""
        del sizes
        bits = 8 if precision == "int8-static" else 16
        return rewriting.Device(bits, has=_HAS, lacks=_WRONG[bits], drops_bounds=True)

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """Activations of 8 and of 16 bits; for matrix products smoothed channels, or weights of 16 bits too."""
        import onnx_ir as ir

        from edgepack.toolchain.quantized import already_quantized

        del rows
        model = ir.load(lowered.path)
        if already_quantized(model):
            return (Offer(AS_GIVEN),)
        options = _PRODUCTS if _has_linears(model) else {}
        # What computes with fewer bits than 16 has none to give away.
        wide = options if self.chip.wide_weights else {**options, "headroom": False}
        found = [Offer("int8-static", "qnn-qdq", options), Offer("int16x8-static", "qnn-qdq", wide)]
        if options and self.chip.wide_weights:
            found.append(Offer("int16-static", "qnn-qdq", {"weights": "int16"}))
        return tuple(found)

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Write the EPContext model, its context binary and the `.dlc` files.

        Raises:
            ToolchainMissingError: The isolated environment is not there.
            TargetError: The model is not quantized.
            ToolchainFailedError: The compiler crashed, hung, refused the model, placed nothing on the HTP, or
                compiled for another chip.
        """
        if lowered.precision not in {"int8-static", "int16x8-static", "int16-static", AS_GIVEN}:
            raise TargetError(
                f"{self.name} takes quantized models, and this one is {lowered.precision}",
                where=f"part {lowered.part}",
                todo="Use --precision int16x8-static, int8 or auto",
            )
        self.check()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="qnn-", dir=folder.resolve()) as scratch:
            return self._compiled(lowered, context, folder, Path(scratch))

    def _compiled(self, lowered: Lowered, context: Context, folder: Path, scratch: Path) -> Compiled:
        tool = qnn.WORKER.tool()
        made = scratch / "context"
        made.mkdir()
        file = made / f"{lowered.part}_{self.device}.onnx"
        common: dict[str, Any] = {
            "model": str(lowered.path.resolve()),
            "soc_model": self.chip.soc_model,
            "htp_arch": self.chip.arch,
            "threads": context.threads,
            "verbose": False,
        }
        compiling = {**common, "context": str(file)}
        answer = qnn.WORKER.once({**compiling, "fallback": False}, scratch, context.time_limit_s)
        strict = bool(answer["ok"])
        refused = "" if strict else str(answer["error"])
        if not strict:
            shutil.rmtree(made)
            made.mkdir()
            relaxed = {**compiling, "fallback": True, "verbose": True}
            answer = qnn.WORKER.once(relaxed, scratch, context.time_limit_s)
            if not answer["ok"]:
                raise self._failed(answer)
        qnn.WORKER.check_version(answer)
        where = placement.placed(
            answer.get("assignment") or (), answer["log"], tool, self.device, strict=strict
        )
        contexts = self._contexts(file)
        facts = {
            "soc_model": self.chip.soc_model,
            "htp_arch": self.chip.arch,
            "strict": strict,
            "contexts": contexts,
        }
        qnn.note(file, facts)
        dlc, missing = self._dlc(common, lowered.part, scratch, context.time_limit_s)
        shipped = [file, *(made / name for name in sorted(contexts)), *dlc]
        for path in shipped:
            shutil.move(path, folder / path.name)
        return Compiled(
            files=tuple(path.name for path in shipped),
            run_file=file.name,
            placement=where,
            tool=tool,
            metrics=of_onnx(lowered.path, where, tool),
            notes=self._notes(where, refused, missing),
        )

    def _failed(self, answer: Mapping[str, Any]) -> ToolchainFailedError:
        why = placement.first_error(answer["log"])
        return ToolchainFailedError(
            f"{qnn.DISTRIBUTION} does not compile this model: {answer['error']}"
            + (f" ({why})" if why else ""),
            where=self.device,
            todo="Use a smaller --size, another --precision or another target",
        )

    def _contexts(self, file: Path) -> dict[str, str]:
        """Hash of every context binary by name, each for the chip that was asked for."""
        from edgepack.toolchain.files import hash_file

        binaries = sorted(path for path in file.parent.iterdir() if path != file)
        if not file.is_file() or not binaries:
            raise ToolchainFailedError(f"{qnn.DISTRIBUTION} wrote no context binary", where=self.device)
        for binary in binaries:
            found = qnn.chips_in(binary)
            if found != {(self.chip.soc, self.chip.arch)}:
                names = ", ".join(f"{soc} v{arch}" for soc, arch in sorted(found)) or "no chip"
                raise ToolchainFailedError(
                    f"The context binary {binary.name} names {names} instead of {self.chip.soc} v{self.chip.arch}",
                    where=self.device,
                    todo=f"Make the environment again: {qnn.SETUP} --remove && {qnn.SETUP}",
                )
        return {binary.name: hash_file(binary).sha256 for binary in binaries}

    def _dlc(
        self, common: Mapping[str, Any], part: str, scratch: Path, time_limit_s: float
    ) -> tuple[list[Path], str | None]:
        """The graph as `.dlc` files, one for every group of nodes on the HTP; or why there are none."""
        folder = scratch / "dlc"
        folder.mkdir()
        request = {**common, "fallback": True, "dlc": str(folder)}
        try:
            answer = qnn.WORKER.once(request, scratch, time_limit_s)
        except ToolchainFailedError as error:
            return [], str(error)
        found = sorted(folder.glob("*.dlc"))
        if not answer["ok"] or not found:
            return [], str(answer.get("error", "none was written"))
        several = len(found) > 1
        names = (f"{part}_{self.device}{f'_{index}' * several}.dlc" for index in range(len(found)))
        return [path.rename(folder / name) for path, name in zip(found, names, strict=True)], None

    def _notes(self, where: Placement, refused: str, no_dlc: str | None) -> tuple[str, ...]:
        total = where.accelerator + where.cpu
        how = "ONNX Runtime opened it with the CPU forbidden"
        if refused:
            how = f"with the CPU forbidden ONNX Runtime refuses it: {refused}"
        return (
            f"{where.accelerator / total:.1%} of the operators run on the HTP; {how}",
            "no latency: there is no HTP here, and the times of its simulator are this host's",
            "numerics are those of the shipped context binary in the HTP simulator for x86-64, not of the hardware",
            f"compiled for {self.chip.soc}, HTP v{self.chip.arch}; the binary itself says so",
            *((f"no .dlc was written: {no_dlc}",) * (no_dlc is not None)),
        )


def _has_linears(model: Any) -> bool:
    """Whether there are matrix products with a constant matrix, whose inputs have outlier channels."""
    return any(
        node.op_type in {"MatMul", "Gemm"}
        and any(v is not None and v.const_value is not None for v in node.inputs)
        for node in model.graph
    ) and not any(node.op_type == "Conv" for node in model.graph)


def _register(chip: Chip) -> type[QnnHtp]:
    """A target class for one row of the table."""
    name = f"npu:qnn-htp-v{chip.arch}"
    body = {"name": name, "title": chip.title, "chip": chip, "__doc__": chip.title, "__module__": __name__}
    made = type(f"QnnHtpV{chip.arch}", (QnnHtp,), body)
    targets.register(name)(made)
    return made


for _chip in CHIPS:
    _register(_chip)
