"""npu:rk*, npu:rv*: Rockchip's NPUs, by rknn-toolkit2 in an isolated environment.

There is no Rockchip chip here. The compiler is the one that ships. The toolkit's simulator gives numerics, of the
quantized graph that the `.rknn` was written from and not of that file, which it cannot open (2.5.0). The compiler
estimates cycles for some layers and names no clock, so that there is no latency.

The toolkit's exit code says nothing: what runs on the NPU, and in which type, is read in its compiler's table of
layers, and a model without a layer on the NPU, or without one of the type that was asked for, is an error.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.targets.fixed import fixed
from edgepack.targets.npu import _rknn_accuracy as accuracy
from edgepack.targets.npu import _rknn_layers as tables
from edgepack.targets.npu._rknn_ends import settle
from edgepack.toolchain.errors import TargetError, ToolchainFailedError
from edgepack.toolchain.program import Lowered, Part, Program
from edgepack.toolchain.results import Measurement, Placement, Tool
from edgepack.toolchain.rewrites import base as rewriting
from edgepack.toolchain.vendors import rknn

FLOAT = "fp16"
_HAS = ("LayerNormalization", "RMSNormalization", "Div")
"""What needs no rewriting before it is refused. Erf is the CPU's in every type; Div is with integers, and so is what it
could be written with (Sqrt, Max). A root mean square norm the toolkit finds in the operators that it is made of."""
_TYPES: Mapping[str | None, str] = {"w8a8": "INT8", "w16a16i_dfp": "INT16", None: "FLOAT16"}


@dataclass(frozen=True)
class Chip:
    """One NPU.

    Attributes:
        platform: Name, as the toolkit's `target_platform` takes it.
        title: For people.
        precisions: What its NPU computes in, best guess first.
    """

    platform: str
    title: str
    precisions: tuple[str, ...]


CHIPS = (
    Chip("rk3588", "Rockchip RK3588", ("int8-static", FLOAT, "int16-static")),
    Chip("rk3576", "Rockchip RK3576", ("int8-static", FLOAT, "int16-static")),
    Chip("rk3566", "Rockchip RK3566", ("int8-static", FLOAT, "int16-static")),
    Chip("rv1106", "Rockchip RV1106", ("int8-static", "int16-static")),
)
"""What rknn-toolkit2 2.5.0 builds: it refuses 8-bit weights with 16-bit activations (`w8a16`) for all four, and float16
for the RV1106."""


class Rockchip(Target):
    """One chip; the subclasses below only say which."""

    chip: ClassVar[Chip]
    session = "rknn"
    static_shapes = True
    host = "cpu:onnxruntime"
    lowered_session = "onnxruntime"
    runs_here = False
    estimated = False
    float_precision = False

    def requirements(self) -> Sequence[Requirement]:
        """The compiler in its isolated environment, and the host's runtime."""
        setup = f"edgepack setup {self.name}"
        return (
            Requirement(rknn.DISTRIBUTION, setup, rknn.ENVIRONMENT),
            Requirement("onnxruntime", "pip install edgepack"),
        )

    def lower_key(self) -> str:
        """The lowering that all chips share."""
        return "onnx for rknn"

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """The cleaned graph with every dimension a number, in an operator set that the toolkit loads.

        Raises:
            TargetError: The model has native operators, came quantized, or is of a newer operator set for good.
        """
        from edgepack.targets.npu._older_onnx import older
        from edgepack.targets.npu._rknn_forms import known_forms
        from edgepack.toolchain.native_operators import refuse_native
        from edgepack.toolchain.passes.storage import save
        from edgepack.toolchain.quantized import already_quantized

        del program
        model = part.model()
        refuse_native(model, self.name, part.name)
        if already_quantized(model):
            raise TargetError(
                f"{self.name} quantizes by itself, and this model came quantized",
                where=f"part {part.name}",
                todo="Export the float model",
            )
        signature = fixed(part, model, context.sizes, self.name)
        done = rewriting.apply(
            model, context.rewrites, self.rewrites_for(context.precision or "", context.sizes)
        )
        model = older(model, part.name, rknn.NEWEST_OPSET, rknn.DISTRIBUTION)
        known_forms(model)
        path = save(model, folder, part.name)
        return Lowered(part.name, "onnx", path, signature, notes=tuple(map(str, done)))

    def rewrites_for(self, precision: str, sizes: Mapping[str, int]) -> rewriting.Device:
        """What rewrites may know of it; sizes are fixed when it lowers, whatever is rewritten."""
        del sizes
        return rewriting.Device(8 if precision == "int8-static" else 16, has=_HAS)

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """What the chip's NPU computes in; float16 needs no data."""
        del rows, lowered
        return tuple(
            Offer(precision) if precision == FLOAT else Offer(precision, "rknn")
            for precision in self.chip.precisions
        )

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Write the `.rknn`, its table of layers, and the archive that the simulator builds the same from.

        Raises:
            ToolchainMissingError: The isolated environment is not there.
            TargetError: The chip does not compute in this precision.
            ToolchainFailedError: The compiler crashed, hung, refused the model, placed nothing on the NPU, or
                computes nothing in the type that was asked for.
        """
        config = _config(lowered)
        precision = FLOAT if lowered.precision == "fp32" else lowered.precision
        if precision not in self.chip.precisions:
            raise TargetError(
                f"The NPU of {self.chip.title} does not compute in {precision}",
                where=f"part {lowered.part}",
                todo=f"Use --precision {' or '.join(self.chip.precisions)}",
            )
        self.check()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="rknn-", dir=folder.resolve()) as scratch:
            return self._compiled(lowered, config, context, folder, Path(scratch))

    def _compiled(
        self, lowered: Lowered, config: Mapping[str, Any], context: Context, folder: Path, scratch: Path
    ) -> Compiled:
        from edgepack.toolchain.files import hash_file

        tool = rknn.WORKER.tool()
        ends = settle(lowered, scratch / "model")
        lowered = ends.lowered
        name = f"{lowered.part}_{self.chip.platform}"
        made, analysis = scratch / f"{name}.rknn", scratch / "accuracy"
        facts: dict[str, Any] = {
            "platform": self.chip.platform,
            "dtype": config["dtype"],
            "config": config["config"],
            "model": lowered.path.name,
            "inputs": ends.inputs,
            "floats": ends.floats,
        }
        request = rknn.request(facts, lowered.path.parent)
        answer = rknn.WORKER.once(
            {**request, "rknn": str(made), "accuracy": str(analysis)}, scratch, context.time_limit_s
        )
        if not answer["ok"]:
            raise ToolchainFailedError(
                f"{rknn.DISTRIBUTION} does not compile this model: {answer['error']}{_first_error(answer['log'])}",
                where=self.chip.platform,
                todo="Use a smaller --size, another --precision or another target",
            )
        rknn.WORKER.check_version(answer)
        without = tuple(str(rule) for rule in answer.get("without", ()))
        if without:  # for the simulator, which builds the same again
            facts["config"] = {**config["config"], "disable_rules": list(without)}
        if not made.is_file() or made.read_bytes()[: len(_MAGIC)] != _MAGIC:
            raise ToolchainFailedError(f"{rknn.DISTRIBUTION} wrote no .rknn file", where=self.chip.platform)
        layers = tables.read_layers(answer["log"])
        where = tables.placed(layers, self.chip.platform, tool)
        wanted = _TYPES[config["dtype"]]
        right = sum(layer.dtype == wanted for layer in layers)
        if not right:
            raise ToolchainFailedError(
                f"{rknn.DISTRIBUTION} was asked for {wanted} and computes no layer in it",
                where=self.chip.platform,
                todo="Use another --precision",
            )
        errors = accuracy.read_errors(analysis / "error_analysis.txt")
        table, check = scratch / f"{name}_layers.json", scratch / f"{name}_host-check.zip"
        table.write_text(_table(layers, errors), encoding="utf-8")
        facts |= {"rknn": hash_file(made).sha256, "version": tool.version}
        rknn.pack(check, facts, _sources(lowered))
        for path in (made, table, check):
            shutil.move(path, folder / path.name)
        return Compiled(
            files=(made.name, table.name),
            run_file=check.name,
            placement=where,
            tool=tool,
            metrics=_metrics(layers, tool),
            notes=tuple(
                filter(
                    None,
                    (
                        *_notes(layers, where, wanted, right),
                        *_switched_off(without),
                        *ends.notes,
                        accuracy.worst(errors),
                    ),
                )
            ),
        )


_MAGIC = b"RKNN"
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_ERROR = re.compile(r"^E (?:RKNN: \[[^\]]*\] )?(?P<what>\S[^\n]*)", re.MULTILINE)
_LONGEST = 300


def _first_error(log: str) -> str:
    """The first line that the toolkit logged as an error: some of its steps only return that they failed."""
    found = _ERROR.search(_COLOURS.sub("", log))
    return f" ({' '.join(found['what'].split())[:_LONGEST]})" if found else ""


def _config(lowered: Lowered) -> dict[str, Any]:
    """What the quantizer wrote beside the model; for the float model, float16."""
    if lowered.precision == "fp32":
        return {"dtype": None, "config": {}}
    path = lowered.path.with_name("config.json")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise TargetError(
            f"A model in {lowered.precision} without its samples is not of the quantizer rknn",
            where=f"part {lowered.part}",
            todo="Export the float model: rknn-toolkit2 quantizes when it compiles",
        ) from error


def _sources(lowered: Lowered) -> list[Path]:
    """The files that a build is made of."""
    folder = lowered.path.parent
    files = [lowered.path, *folder.glob(f"{lowered.path.name}*.data")]
    return files if lowered.precision == "fp32" else [*files, folder / rknn.SAMPLES_FILE]


def _table(layers: Sequence[tables.Layer], errors: Sequence[accuracy.LayerError]) -> str:
    rows = [{**asdict(layer), "macs": layer.macs} for layer in layers]
    return json.dumps({"layers": rows, "errors": [asdict(error) for error in errors]}, indent=1)


def _metrics(layers: Sequence[tables.Layer], tool: Tool) -> tuple[Measurement, ...]:
    cycles = sum(layer.cycles for layer in layers)
    macs = sum(layer.macs for layer in layers)
    here = sum(layer.macs for layer in layers if layer.target == tables.NPU)
    found = []
    if cycles:
        found.append(
            Measurement(name="npu cycles", value=cycles, unit="cycles", kind="vendor-estimate", tool=tool)
        )
    if macs:
        found.append(
            Measurement(name="macs on the npu", value=here / macs, unit="share", kind="counted", tool=tool)
        )
    return tuple(found)


def _notes(layers: Sequence[tables.Layer], where: Placement, wanted: str, right: int) -> tuple[str, ...]:
    estimated = sum(layer.cycles > 0 for layer in layers)
    types = Counter(layer.dtype for layer in layers if layer.dtype != wanted)
    others = ", ".join(f"{count} {name}" for name, count in sorted(types.items()))
    return (
        f"{where.accelerator / len(layers):.1%} of the compiled layers run on the NPU, by the compiler's own table",
        f"{right} of {len(layers)} layers compute in {wanted}" + f"; others: {others}" * bool(others),
        f"no latency: there is no chip here, and cycles, of {estimated} of {len(layers)} layers, come without a clock",
        "numerics are those of the simulator, of the graph that the .rknn was written from, not of the hardware",
    )


def _switched_off(without: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        f"{rknn.DISTRIBUTION} optimized without its rule {rule}, which fails on this graph"
        for rule in without
    )


def _register(chip: Chip) -> type[Rockchip]:
    """A target class for one row of the table."""
    name = f"npu:{chip.platform}"
    body = {"name": name, "title": chip.title, "chip": chip, "__doc__": chip.title, "__module__": __name__}
    made = type(chip.platform.title(), (Rockchip,), body)
    targets.register(name)(made)
    return made


for _chip in CHIPS:
    _register(_chip)
