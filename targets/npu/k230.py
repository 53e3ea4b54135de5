"""npu:k230: the KPU of Kendryte's K230, by nncase in an isolated environment.

There is no such chip here. The compiler is the one that ships, and its simulator runs the very `.kmodel` that it wrote,
so that numerics are those of the artifact. Neither names a clock or cycles, so that there is no latency.

What runs on the KPU and what on the RISC-V core beside it is read in the compiler's own text of the program: it gives
an operator that the KPU does not take to the CPU without a word, whole models included.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.targets.fixed import fixed
from edgepack.targets.npu import _k230_program as programs
from edgepack.targets.npu._macs import NAME as MACS
from edgepack.toolchain.errors import NothingPlacedError, TargetError, ToolchainFailedError
from edgepack.toolchain.program import Lowered, Part, Program
from edgepack.toolchain.results import Measurement, NodeReason, Placement, Tool
from edgepack.toolchain.rewrites import base as rewriting
from edgepack.toolchain.vendors import k230

PRECISIONS = ("int8-static", "int16x8-static")
_DEVICE = "k230"
_MAGIC = b"LDMK"
_LACKED = re.compile(r"Not Supported Onnx op: (?P<op>\w+)")
_THROWN = re.compile(
    r"(?:Unhandled exception|Process terminated)\. (?P<what>[^\n]+)(?:\n\s+at (?P<where>[\w.]+))?"
)
_LONGEST = 300


@targets.register("npu:k230")
class K230(Target):
    """Kendryte's K230."""

    name = "npu:k230"
    title = "Kendryte K230 (KPU)"
    session = "k230"
    static_shapes = True
    host = "cpu:onnxruntime"
    lowered_session = "onnxruntime"
    runs_here = False
    estimated = False
    float_precision = False

    def requirements(self) -> Sequence[Requirement]:
        """The compiler, its plugin and .NET in or beside the isolated environment, and the host's runtime."""
        inside = (k230.DISTRIBUTION, k230.PLUGIN, k230.DOTNET.name)
        return (
            *(Requirement(name, k230.SETUP, k230.ENVIRONMENT) for name in inside),
            Requirement("onnxruntime", "pip install edgepack"),
        )

    def lower_key(self) -> str:
        """A lowering of its own."""
        return "onnx for nncase"

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """The cleaned graph with every dimension a number, in operators that nncase loads.

        Raises:
            TargetError: The model has native operators, came quantized, or is of a newer operator set for good.
        """
        from edgepack.targets.npu._k230_lowering import loadable
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
        device = self.rewrites_for(context.precision or "", context.sizes)
        done = rewriting.apply(model, context.rewrites, device)
        path = save(loadable(model, part.name), folder, part.name)
        return Lowered(part.name, "onnx", path, signature, notes=tuple(map(str, done)))

    def rewrites_for(self, precision: str, sizes: Mapping[str, int]) -> rewriting.Device:
        """What rewrites may know of it; sizes are fixed when it lowers, whatever is rewritten."""
        del sizes
        return rewriting.Device(8 if precision == "int8-static" else 16, has=_HAS, lacks=_LACKS)

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """Activations of 8 bits; of 16, of which the KPU moves twice as much, only where those do not pass."""
        del rows, lowered
        narrow, wide = PRECISIONS
        return Offer(narrow, "k230"), Offer(wide, "k230", fallback=True)

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Write the `.kmodel`, what it takes and gives, and where each of its operators runs.

        Raises:
            ToolchainMissingError: The isolated environment or .NET is not there.
            TargetError: The KPU does not compute in this precision.
            ToolchainFailedError: The compiler crashed, hung, refused the model, or placed nothing on the KPU.
        """
        if lowered.precision not in PRECISIONS:
            raise TargetError(
                f"The KPU of the K230 does not compute in {lowered.precision}",
                where=f"part {lowered.part}",
                todo=f"Use --precision {' or '.join(PRECISIONS)}",
            )
        config = _config(lowered)
        _known(lowered)
        self.check()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="k230-", dir=folder.resolve()) as scratch:
            return _compiled(lowered, config, context, folder, Path(scratch))


_LACKS = ("ScatterElements", "ScatterND")
"""What a cache is written with: nncase knows the second only, and computes it on the CPU."""
_HAS = ("Gelu", "LayerNormalization", "RMSNormalization", "Div")
"""What needs no rewriting before it is refused: a chain of operators by elements is computed in halves of floats."""


def _known(lowered: Lowered) -> None:
    """Raise TargetError if nncase lacks operators: only now, for rewrites may have put others in their place."""
    import onnx_ir as ir

    from edgepack.targets.npu._k230_lowering import refuse_unknown

    refuse_unknown(ir.load(lowered.path), lowered.part)


def _config(lowered: Lowered) -> dict[str, Any]:
    """What the quantizer wrote beside the model."""
    path = lowered.path.with_name("config.json")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise TargetError(
            f"A model in {lowered.precision} without its samples is not of the quantizer k230",
            where=f"part {lowered.part}",
            todo="Export the float model: nncase quantizes when it compiles",
        ) from error


def _compiled(
    lowered: Lowered, config: Mapping[str, Any], context: Context, folder: Path, scratch: Path
) -> Compiled:
    from edgepack.targets.npu._k230_lowering import one_file
    from edgepack.toolchain.files import hash_file

    tool = k230.WORKER.tool()
    source, dump = scratch / "model.onnx", scratch / "passes"
    made = scratch / f"{lowered.part}_{_DEVICE}.kmodel"
    one_file(lowered.path, source)
    request = {
        "model": str(source),
        "samples": str(lowered.path.with_name("samples.npz").resolve()),
        "config": dict(config),
        "kmodel": str(made),
        "dump": str(dump),
        "dotnet": k230.dotnet_root(),
    }
    try:
        answer = k230.WORKER.once(request, scratch, context.time_limit_s)
    except ToolchainFailedError as error:
        raise _ended(error, scratch / "log.txt") from error
    if not answer["ok"]:
        raise _refused(answer["error"])
    k230.WORKER.check_version(answer)
    if not made.is_file() or made.read_bytes()[: len(_MAGIC)] != _MAGIC:
        raise ToolchainFailedError(f"{k230.DISTRIBUTION} wrote no .kmodel file", where=_DEVICE)
    shapes = [tuple(int(size) for size in spec.shape) for spec in lowered.signature.outputs]
    operators = programs.named(programs.read(dump, shapes), _nodes(lowered.path))
    where = _placed(operators, tool)
    facts = {
        "inputs": [spec.name for spec in lowered.signature.inputs],
        "outputs": [spec.name for spec in lowered.signature.outputs],
        "kmodel": hash_file(made).sha256,
        "version": tool.version,
    }
    beside = k230.note(made, facts)
    table = scratch / f"{made.stem}_operators.json"
    table.write_text(json.dumps([asdict(one) for one in operators], indent=1), encoding="utf-8")
    for path in (made, beside, table):
        shutil.move(path, folder / path.name)
    return Compiled(
        files=(made.name, beside.name, table.name),
        run_file=made.name,
        placement=where,
        tool=tool,
        metrics=_macs(operators, lowered.path, tool),
        notes=_notes(where),
    )


def _ended(error: ToolchainFailedError, log: Path) -> ToolchainFailedError:
    """What ended the process, in its own words, where it said any."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lacked, thrown = _LACKED.search(text), _THROWN.search(text)
    if lacked:
        return _refused(f"it has no {lacked['op']}")
    if not thrown:
        return error
    what, where = " ".join(thrown["what"].split())[:_LONGEST], thrown["where"]
    return _refused(f"{what.rstrip('.')}, in {where}" if where else what)


def _refused(why: str) -> ToolchainFailedError:
    return ToolchainFailedError(
        f"{k230.DISTRIBUTION} does not compile this model: {why}",
        where=_DEVICE,
        todo="Use a smaller --size, another --precision or another target",
    )


def _nodes(path: Path) -> list[tuple[str, str, tuple[int, ...]]]:
    """Name, operator and shape of the output of every node that was compiled."""
    import onnx_ir as ir

    from edgepack.toolchain.passes.clean_up import clean_up

    model = ir.load(path)
    clean_up(model)  # which infers shapes
    return [
        (node.name or str(node.outputs[0].name), node.op_type, _numbers(node.outputs[0]))
        for node in model.graph
    ]


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(dim for dim in value.shape or () if isinstance(dim, int))


def _placed(operators: Sequence[programs.Operator], tool: Tool) -> Placement:
    here = sum(one.where == programs.KPU for one in operators)
    found = Placement(
        accelerator=here,
        cpu=len(operators) - here,
        reasons=[_reason(one) for one in operators if one.where == programs.CPU],
        device=_DEVICE,
        tool=tool,
    )
    if not here:
        nothing = NothingPlacedError(
            f"{k230.DISTRIBUTION} put none of {len(operators)} operators on the KPU",
            where=_DEVICE,
            todo="Use another --precision or another target",
        )
        nothing.placement = found  # what a rewrite may cure, and `explain` shows
        raise nothing
    return found


def _reason(one: programs.Operator) -> NodeReason:
    if one.op in _LOOKUPS:
        why, cure = (
            "the KPU has no table lookup: rows are copied by the CPU",
            "Keep it on the host with --host lookups, or give the model the looked-up rows as its input",
        )
    elif one.type.lstrip("(").partition("[")[0] not in _FLOATS:
        why, cure = (
            f"the KPU computes with 8-bit and 16-bit numbers, and this is {one.type}",
            f"Compute {one.op} in floating point, or before the model",
        )
    elif one.op in _NEVER:
        why, cure = (
            f"{k230.DISTRIBUTION} gives every {one.op} to the CPU",
            "None known: it is the CPU's in every form that was tried (docs/k230.md)",
        )
    else:
        why, cure = (
            f"the compiler gave it to the CPU as {one.type} and says no reason",
            f"Replace {one.op} by convolutions, products and operators by elements, on four dimensions",
        )
    return NodeReason(node=one.node, op=one.op, reason=why, cure=cure)


_LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND"})
_NEVER = frozenset({"Pow", "Softmax", "Sqrt"})
_FLOATS = frozenset({"f32", "f16", "u8", "i8", "i16"})


def _macs(operators: Sequence[programs.Operator], path: Path, tool: Tool) -> tuple[Measurement, ...]:
    """The share of the model's multiplications on the KPU; nothing where a product's shapes are not known."""
    from edgepack.targets.npu._macs import onnx_macs

    total = sum(onnx_macs(path).values())
    away = [one.macs for one in operators]
    if not total or None in away:
        return ()
    share = 1 - sum(count or 0 for count in away) / total
    return (Measurement(name=MACS, value=share, unit="share", kind="counted", tool=tool),)


def _notes(where: Placement) -> tuple[str, ...]:
    kinds = Counter(reason.op for reason in where.reasons)
    left = ", ".join(f"{count} {op}" for op, count in sorted(kinds.items()))
    share = where.accelerator / (where.accelerator + where.cpu)
    return (
        f"{share:.1%} of the compiled operators run on the KPU" + f"; on the CPU: {left}" * bool(left),
        "no latency: there is no K230 here, and the compiler and its simulator tell no time",
        "numerics are those of the shipped .kmodel in nncase's simulator, not of the hardware",
    )
