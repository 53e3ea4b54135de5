"""npu:ethos-u*: models for Arm's Ethos-U NPUs, compiled by Vela, which estimates time and memory.

There is no Ethos-U here: the numerics are those of the quantized TFLite file that goes into Vela, run
on the host, and the time is Vela's estimate. Ethos-U computes with integers only, so there is no fp32.

Three precisions are offered. `int8-static` runs everything on the NPU and ruins transformers: a residual
stream has outliers that 8 bits per tensor cannot hold. `int16x8-static` keeps them, but for products of two
activations on Ethos-U55 and U65, which have 8 bits there. Where that is not enough, `int16-static` computes
these by elements, in 16 bits and in more time. For all of them the graph is first rewritten into operators
that the NPU has at that width (`toolchain.rewrites`); what comes as a TFLite file of another converter's,
for 16 bits, by the quantizer (`quantize`).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.targets.mobile import _litert_lowering as lowering
from edgepack.targets.npu import vela_report
from edgepack.targets.npu._ethos_memory import EthosOptions, cache_bytes, settled
from edgepack.targets.npu._integer_ends import integer_ends
from edgepack.targets.npu._macs import of_tflite
from edgepack.targets.npu._staged_image import stage_images
from edgepack.targets.npu._vela_layers import read_layers
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import TargetError, ToolchainFailedError
from edgepack.toolchain.program import Lowered, Part, Program
from edgepack.toolchain.quantized import AS_GIVEN
from edgepack.toolchain.results import Placement, Profile, Tool
from edgepack.toolchain.rewrites import base as rewriting
from edgepack.toolchain.subprocesses import run_tool

if TYPE_CHECKING:
    import onnx_ir as ir

VELA = Requirement("ethos-u-vela", lowering.INSTALL)
DEDICATED = "Dedicated_Sram"
"""How the memory modes begin whose activations lie in DRAM, with a memory beside the NPU."""
WIDE, WIDEST = "int16x8-static", "int16-static"
"""Activations of 16 bits; in the second form in products of two activations too, on every NPU."""
VELA_COMMAND = (sys.executable, "-m", "ethosu.vela")


@dataclass(frozen=True)
class Accelerator:
    """One configuration of the hardware, by the names of Vela's own `Arm/vela.ini`.

    Attributes:
        config: Accelerator and its MACs per cycle.
        system: Clock, and bandwidths and latencies of its memories.
        memory: Which memory holds weights and activations.
        title: For people.
        wide_matmul: Whether it multiplies two activations of 16 bits (Ethos-U85 does).
        most_padded_stride: Largest step of a convolution that pads, by Vela's report of what it supports; 0: any.
    """

    config: str
    system: str
    memory: str
    title: str
    wide_matmul: bool = False
    most_padded_stride: int = 3


ACCELERATORS = (
    Accelerator(
        "ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram", "Arm Ethos-U55, 128 MACs, 500 MHz"
    ),
    Accelerator("ethos-u65-512", "Ethos_U65_High_End", "Dedicated_Sram", "Arm Ethos-U65, 512 MACs, 1 GHz"),
    Accelerator(
        "ethos-u85-512",
        "Ethos_U85_SYS_DRAM_High",
        "Dedicated_Sram_512KB",
        "Arm Ethos-U85, 512 MACs, 1 GHz",
        wide_matmul=True,
        most_padded_stride=0,
    ),
)


@dataclass(frozen=True)
class _Estimated:
    """What one run of Vela gave: its input and output files, and what it says of them."""

    source: Path
    compiled: Path
    placement: Placement
    summary: vela_report.Summary
    layers: Profile | None


class EthosU(Target):
    """An Ethos-U of one configuration; the subclasses below only say which."""

    accelerator: ClassVar[Accelerator]
    session = "litert"
    static_shapes = True
    host = "mobile:litert"
    runs_here = False
    float_precision = False
    options_type = EthosOptions
    vela: Sequence[str] = VELA_COMMAND
    """What starts Vela: another program in its place for tests."""

    def requirements(self) -> Sequence[Requirement]:
        """Quantizer, the host's runtime and Vela, all in the default installation."""
        return (lowering.QUANTIZER, lowering.RUNTIME, VELA)

    def told(self, values: Mapping[str, Any]) -> EthosOptions:
        """The memories that were asked for, or the accelerator's own; errors as of `_ethos_memory.settled`."""
        chip = self.accelerator
        asked = EthosOptions.of(values, self.name, "--target-option")
        return settled(asked, chip.config, chip.system, chip.memory)

    def lower_key(self) -> str:
        """The lowering that is shared with mobile:litert."""
        return lowering.lower_key()

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """A `.tflite` with static shapes, in float unless the model came quantized; errors as in `_litert_lowering`.

        What `context.rewrites` names is applied to the part's graph first.
        """

        def change(model: ir.Model) -> Sequence[str]:
            found = rewriting.apply(
                model, context.rewrites, self.rewrites_for(context.precision or "", context.sizes)
            )
            return [str(one) for one in found]

        return lowering.lower(self.name, program, part, context, folder, change)

    def rewrites_for(self, precision: str, sizes: Mapping[str, int]) -> rewriting.Device:
        """What rewrites may know of it."""
        bits = 16 if precision in {WIDE, WIDEST} else 8
        wide = bits == 8 or self.accelerator.wide_matmul  # noqa: PLR2004
        fast = cache_bytes(self.accelerator.memory)
        return rewriting.Device(
            bits,
            wide,
            sizes,
            fast,
            element_products=precision == WIDEST,
            most_padded_stride=self.accelerator.most_padded_stride,
        )

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """8 bits, and 16-bit activations in operators that the NPU has.

        Where it multiplies two activations in 8 bits only, such products are computed by elements last of all.
        """
        del rows
        if lowered.precision == AS_GIVEN:
            return (Offer(AS_GIVEN),)
        wide: dict[str, Any] = {"integer_npu": True}
        if not self.accelerator.wide_matmul:
            wide["matmul_bits"] = 8
        narrow = {"ends": "int16"}  # the NPU has that width too, at half the speed, for a few layers
        offers = (Offer("int8-static", "litert-static", narrow), Offer(WIDE, "litert-static", wide))
        if self.accelerator.wide_matmul or not _multiplies_activations(lowered):
            return offers
        return (*offers, Offer(WIDEST, "litert-static", wide, fallback=True))

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Compile with Vela, and read its estimate, memory, and what it left on the CPU.

        Raises:
            TargetError: The model is not quantized.
            ToolchainFailedError: Vela crashed, hung, wrote nothing or nonsense, or placed nothing.
        """
        if lowered.precision not in {"int8-static", WIDE, WIDEST, AS_GIVEN}:
            raise TargetError(
                f"{self.name} computes with integers only, and the model is {lowered.precision}",
                where=f"part {lowered.part}",
                todo="Use --precision int8 or auto",
            )
        tool = Tool(name=VELA.distribution, version=VELA.version or "unknown")
        work = folder.resolve() / "vela"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            return self._compiled(lowered, context, folder, work, tool)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _compiled(self, lowered: Lowered, context: Context, folder: Path, work: Path, tool: Tool) -> Compiled:
        source = work / f"{lowered.part}.tflite"
        model = tflite.read(lowered.path)
        ends = integer_ends(model) if lowered.precision == AS_GIVEN else 0
        if tflite.narrow_biases(model) + ends:
            tflite.write(model, source)
        else:
            shutil.copyfile(lowered.path, source)
        memories = self.told(context.options)
        chip, given = self.accelerator, f"{memories.system_config} and {memories.memory_mode}"
        found = self._estimated(source, context, work, tool)
        staged: tuple[str, ...] = ()
        if (memories.memory_mode or "").startswith(DEDICATED):
            found, staged = self._staged(found, context, work, tool)
        source, placement, summary = found.source, found.placement, found.summary
        shipped, check = f"{lowered.part}_{chip.config}.tflite", f"{lowered.part}_host-check.tflite"
        shutil.move(found.compiled, folder / shipped)
        shutil.move(source, folder / check)
        share = placement.accelerator / (placement.accelerator + placement.cpu)
        return Compiled(
            files=(shipped,),
            run_file=check,
            placement=placement,
            tool=tool,
            estimate=summary.latency(),
            metrics=(*summary.metrics(tool), *of_tflite(tflite.read(folder / check), placement, tool)),
            profile=found.layers,
            notes=(
                f"{share:.1%} of the operators run on the NPU; Vela's estimate leaves out the other {placement.cpu}",
                f"Vela was given {given} of its Arm/vela.ini: another board, another time",
                "Numerics are those of the quantized TFLite model run on this host, not of the hardware",
                *staged,
            ),
        )

    def _staged(
        self, plain: _Estimated, context: Context, work: Path, tool: Tool
    ) -> tuple[_Estimated, tuple[str, ...]]:
        """With its images copied first (`_staged_image`), where Vela estimates less time for that, and why."""
        model = tflite.read(plain.source)
        images = stage_images(model)
        if not images:
            return plain, ()
        place = work / "staged"
        place.mkdir()
        source = place / plain.source.name
        tflite.write(model, source)
        try:
            found = self._estimated(source, context, place, tool)
        except ToolchainFailedError as error:
            return plain, (
                f"Copying {images} x an image first is left out, for Vela fails on it: {error.what}",
            )
        if found.placement.cpu > plain.placement.cpu or found.summary.seconds >= plain.summary.seconds:
            return plain, ()
        saved = 1 - found.summary.seconds / plain.summary.seconds
        note = f"Copied {images} x an image into the NPU's memory first: Vela estimates {saved:.0%} less time"
        return found, (note,)

    def _estimated(self, source: Path, context: Context, work: Path, tool: Tool) -> _Estimated:
        """One run of Vela, and what it says."""
        compiled = work / f"{source.stem}_vela.tflite"
        chip, memories = self.accelerator, self.told(context.options)
        run = run_tool(
            "Vela",
            [
                *self.vela,
                str(source),
                f"--accelerator-config={chip.config}",
                "--config=Arm/vela.ini",
                f"--system-config={memories.system_config}",
                f"--memory-mode={memories.memory_mode}",
                "--show-cpu-operations",
                "--verbose-performance",
                f"--output-dir={work}",
            ],
            time_limit_s=context.time_limit_s,
            cwd=work,
            expect=[compiled],
        )
        placement = vela_report.read_placement(source, compiled, run.stdout, tool, chip.config)
        summaries = sorted(work.glob("*_summary_*.csv"))
        if not summaries:
            raise ToolchainFailedError("Vela ended with exit code 0 and wrote no summary", where=chip.config)
        summary = vela_report.read_summary(summaries[0])
        layers = read_layers(sorted(work.glob("*_per-layer.csv")), summary.clock_hz, tool)
        return _Estimated(source, compiled, placement, summary, layers)


def _multiplies_activations(lowered: Lowered) -> bool:
    """Whether a float file has products of two matrices that are computed."""
    return any(operator.op == "BATCH_MATMUL" for operator in tflite.operators(tflite.read(lowered.path)))


def _register(accelerator: Accelerator) -> type[EthosU]:
    """A target class for one row of the table."""
    name = f"npu:{accelerator.config}"
    body = {
        "name": name,
        "title": accelerator.title,
        "accelerator": accelerator,
        "__doc__": accelerator.title,
    }
    made = type(accelerator.config.title().replace("-", ""), (EthosU,), body | {"__module__": __name__})
    targets.register(name)(made)
    return made


EthosU55, EthosU65, EthosU85 = map(_register, ACCELERATORS)
