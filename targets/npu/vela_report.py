"""Reads what Arm's Vela leaves behind: its summary, its reasons, and the compiled model itself.

Vela exits with 0 whatever it could place, so nothing here believes an exit code. Where operators run
is counted in the compiled model: what is not an `ethos-u` operator there runs on the CPU. The reasons
are Vela's own words, from its standard output, paired with what would cure them.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

from edgepack.toolchain import tflite
from edgepack.toolchain.errors import NothingPlacedError, SourceError, ToolchainFailedError
from edgepack.toolchain.results import Latency, Measurement, NodeReason, Placement, Tool

NPU_OPERATOR = "ethos-u"
UNSTATED = "Vela left it on the CPU and gave no reason"

# First match wins: (operator or None for any, pattern in Vela's reason, what would cure it).
_CURES: tuple[tuple[str | None, str, str], ...] = (
    (
        "EMBEDDING_LOOKUP",
        "",
        "Look the embeddings up outside the model and feed them as integers, or accept it: it computes nothing",
    ),
    (
        "GATHER",
        "Unsupported opType",
        "Accept it, a lookup computes nothing; or keep it on the host with --host lookups, or choose an Ethos-U85",
    ),
    (
        "SELECT_V2",
        "Unsupported opType",
        "Feed the choice as numbers to add or multiply by, or choose an Ethos-U85",
    ),
    (None, r"Bool8", "Feed this mask as float, or choose an Ethos-U85, which has truth values"),
    ("CAST", "", "Feed this input as float or in the model's integer type, so that nothing is left to cast"),
    (
        "QUANTIZE",
        r"Float32",
        "Its float input comes from an operator on the CPU: once that runs on the NPU, this one is gone",
    ),
    (
        "DEQUANTIZE",
        "",
        "Its float result feeds an operator on the CPU: once that is quantized, this one is gone",
    ),
    (None, r"unsupported DataType Float32", "Quantize it: choose --precision int8, or another operator here"),
    (
        "GELU",
        r"Int16|must be Int8",
        "Use 8-bit activations, or write GELU as x * sigmoid(...), which has 16 bits",
    ),
    ("BATCH_MATMUL", r"precision must be Int8", "Quantize this product to 8 bits, or choose an Ethos-U85"),
    ("FULLY_CONNECTED", r"precision must be Int8", "Use constant weights or 8-bit activations here"),
    ("DIV", "", "Multiply by 1/sqrt twice, by a constant, or choose an Ethos-U85, which divides"),
    ("SQRT", "", "Write it with rsqrt, which the NPU has: sqrt(x) = x * rsqrt(x)"),
    (None, r"32-bit feature-maps", "Quantize its tensors to 8 or 16 bits"),
    (None, r"64-bit feature-maps", "Use 32-bit or narrower integers for this tensor"),
    (None, r"dynamic|constant shape", "Pin every dimension to a size"),
    (None, r"[Ss]tride", "Use strides of 1 to 3 in this layer"),
    (None, r"[Ww]eight|[Bb]ias", "Make weights and bias constants, of 8 and of 32 or 64 bits"),
    (None, r"must be constant", "Make this parameter a constant of the model"),
    (None, r"quantization", "Quantize every tensor of it, per tensor"),
    (None, r"Unsupported opType", "Replace it by operators that the NPU has (vela --supported-ops-report)"),
)
_DEFAULT_CURE = "Change the layer to fit the constraint above (vela --supported-ops-report lists them all)"
_WARNING = re.compile(
    r"^Warning \(supported operators\) operator: (?P<op>[^,\n]+), ofm: '(?P<name>[^\n]*)'\n"
    r"(?P<reason>(?:(?!Warning \()[^\n]+\n?)+)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Summary:
    """One row of Vela's summary, in its units: seconds, cycles, KiB, multiplications."""

    seconds: float
    cycles: float | None
    npu_cycles: float | None
    sram_kib: float | None
    dram_kib: float | None
    flash_kib: float | None
    macs: float | None
    clock_hz: float | None

    def latency(self) -> Latency:
        """The estimate as a latency, with what it leaves out."""
        return Latency(
            kind="vendor-estimate",
            p50_ms=self.seconds * 1e3,
            note="Vela's estimate for the NPU alone: operators left on the CPU and the host's driver are not in it",
        )

    def metrics(self, tool: Tool) -> tuple[Measurement, ...]:
        """The figures that the row has."""
        rows = (
            ("cycles", self.cycles, "cycles"),
            ("npu_active_cycles", self.npu_cycles, "cycles"),
            ("sram", None if self.sram_kib is None else self.sram_kib * 1024, "bytes"),
            ("dram", None if self.dram_kib is None else self.dram_kib * 1024, "bytes"),
            ("flash", None if self.flash_kib is None else self.flash_kib * 1024, "bytes"),
            ("macs", self.macs, "operations"),
            ("core_clock", self.clock_hz, "Hz"),
        )
        return tuple(
            Measurement(name=name, value=value, unit=unit, kind="vendor-estimate", tool=tool)
            for name, value, unit in rows
            if value is not None
        )


def read_summary(path: Path) -> Summary:
    """Read `*_summary_*.csv`.

    Raises:
        ToolchainFailedError: The file is missing, is no such table, or holds no positive time.
    """
    try:
        with path.open(newline="", errors="replace") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error) as error:
        raise _unreadable(path, str(error)) from error
    if not rows:
        raise _unreadable(path, "it has no row")
    row = rows[-1]

    def number(column: str) -> float | None:
        try:
            value = float(row.get(column) or "")
        except (TypeError, ValueError):
            return None
        return value if math.isfinite(value) and value >= 0 else None

    seconds = number("inference_time")
    if not seconds:
        raise _unreadable(path, f"its inference_time is {row.get('inference_time')!r}")
    flash = [number("on_chip_flash_memory_used"), number("off_chip_flash_memory_used")]
    return Summary(
        seconds=seconds,
        cycles=number("cycles_total"),
        npu_cycles=number("cycles_npu"),
        sram_kib=number("sram_memory_used"),
        dram_kib=number("dram_memory_used"),
        flash_kib=sum(f for f in flash if f is not None) if any(f is not None for f in flash) else None,
        macs=number("nn_macs"),
        clock_hz=number("core_clock"),
    )


def read_reasons(stdout: str) -> dict[str, tuple[str, str]]:
    """Output tensor -> (operator, Vela's reason in one line)."""
    return {
        match["name"]: (match["op"].strip(), " ".join(match["reason"].removeprefix("Reason:").split()))
        for match in _WARNING.finditer(stdout)
    }


def read_placement(before: Path, after: Path, stdout: str, tool: Tool, device: str) -> Placement:
    """Count operators of the model before and after compilation.

    Args:
        before: The quantized model that was compiled; its operators are what is counted.
        after: Vela's model.
        stdout: Vela's words.
        tool: Vela.
        device: Name of the accelerator.

    Raises:
        ToolchainFailedError: The compiled model cannot be read.
        NothingPlacedError: Nothing was placed on the NPU.
    """
    try:
        left = [op for op in tflite.operators(tflite.read(after)) if op.op != NPU_OPERATOR]
        placed = sum(1 for op in tflite.operators(tflite.read(after)) if op.op == NPU_OPERATOR)
    except SourceError as error:
        raise ToolchainFailedError(
            f"Vela wrote a model that cannot be read: {error}", where=device
        ) from error
    total = sum(1 for _ in tflite.operators(tflite.read(before)))
    stated = read_reasons(stdout)
    reasons = []
    for op in left:
        kind, reason = stated.get(op.name, (op.op, UNSTATED))
        kind = op.op if kind == "None" else kind  # Vela's word for an operator that it has no name for
        reasons.append(NodeReason(node=op.name, op=kind, reason=reason, cure=cure(kind, reason)))
    if not placed or len(left) >= total:
        nothing = NothingPlacedError(
            f"Vela left every operator on the CPU: 0 of {total} run on the NPU",
            where=device,
            todo="Quantize the model (--precision int8) and see `vela --supported-ops-report` for its operators",
        )
        nothing.placement = Placement(accelerator=0, cpu=len(left), reasons=reasons, device=device, tool=tool)
        raise nothing
    return Placement(accelerator=total - len(left), cpu=len(left), reasons=reasons, device=device, tool=tool)


def cure(op: str, reason: str) -> str:
    """What would bring an operator onto the NPU."""
    for wanted, pattern, text in _CURES:
        if wanted in {None, op} and re.search(pattern, reason):
            return text
    return _DEFAULT_CURE


def _unreadable(path: Path, why: str) -> ToolchainFailedError:
    return ToolchainFailedError(
        f"Vela's summary {path.name} cannot be used: {why}",
        todo="Check that the installed ethos-u-vela is a version edgepack was tested with: edgepack doctor",
    )
