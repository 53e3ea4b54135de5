"""The tables of artifacts and candidates: what is shipped, what lost, what was rejected, and why."""

from __future__ import annotations

from collections.abc import Sequence

from edgepack.toolchain.report import cells, text
from edgepack.toolchain.report.cells import Cell, Table, Tone, table
from edgepack.toolchain.results import ArtifactResult, CandidateResult, Latency, Manifest, ProgramResult


def head(entry: ArtifactResult | CandidateResult) -> tuple[Cell, Cell]:
    """Target and precision; the part is named unless it is the only one there can be."""
    part = f"part {entry.part}" if entry.part != "main" else ""
    return cells.name(entry.target), cells.name(entry.precision, part)


def artifacts(manifest: Manifest) -> Table:
    """What is shipped, one line each."""
    return _artifacts("artifacts", "Artifacts to ship", manifest.artifacts)


def rejected(manifest: Manifest) -> Table:
    """What was built and failed its gate."""
    return _artifacts("rejected", "Rejected: built, and failed the gate", manifest.rejected)


def _artifacts(id_: str, caption: str, entries: Sequence[ArtifactResult]) -> Table:
    return table(
        id_,
        caption,
        (
            "Target",
            "Precision",
            "#Size",
            "#p50 latency",
            "#Speed",
            "#Peak memory",
            "#Parity",
            "#On accelerator",
            "Files",
        ),
        [
            (
                *head(a),
                cells.size(a.size_bytes),
                cells.latency(a.latency),
                cells.comparison(a.comparison),
                cells.memory(a.memory),
                cells.parity(a.parity),
                cells.placement(a.placement),
                cells.drawn(a.files, "file"),
            )
            for a in entries
        ],
    )


def timing(manifest: Manifest) -> Table:
    """Everything known of each latency: percentiles, samples, warm-up, shapes, what it leaves out."""
    return table(
        "timing",
        "Timing in detail",
        (
            "Target",
            "Precision",
            "#p50",
            "#p90",
            "#p99",
            "#Samples",
            "#Warm-up runs",
            "#First run",
            "#Load",
            "#Threads",
            "Input shapes",
            "Note",
        ),
        [_timing(a, a.latency) for a in [*manifest.artifacts, *manifest.rejected] if a.latency],
    )


def _timing(artifact: ArtifactResult, value: Latency) -> tuple[Cell, ...]:
    why = "" if value.kind == "measured" else cells.NOT_GIVEN
    settled = {True: "settled", False: "did not settle", None: ""}[value.steady]
    shapes = "; ".join(
        f"{name} {text.TIMES.join(map(str, shape)) or 'scalar'}" for name, shape in value.shapes.items()
    )
    return (
        *head(artifact),
        cells.latency(value),
        cells.time(value.p90_ms, "" if value.p90_ms is not None else why),
        cells.time(value.p99_ms, "" if value.p99_ms is not None else why),
        cells.count(value.samples) if value.kind == "measured" else cells.missing("not a measurement"),
        cells.count(value.warmup_runs, settled),
        cells.time(value.first_run_ms),
        cells.time(value.load_ms),
        cells.count(value.threads),
        cells.name(shapes),
        Cell(value.note or ""),
    )


def candidates(manifest: Manifest) -> Table:
    """What was considered for each target and what became of it, the losers included."""
    tones: dict[str, Tone] = {
        "chosen": "good",
        "slower": "",
        "failed-gate": "bad",
        "failed": "bad",
        "not-built": "",
    }
    return table(
        "candidates",
        "What was considered, and why it was chosen or left",
        (
            "Target",
            "Precision",
            "Outcome",
            "Why",
            "#p50 latency",
            "#Speed",
            "#Parity",
            "#Size",
            "#On accelerator",
        ),
        [
            (
                *head(c),
                Cell(text.words(c.outcome).replace("-", " "), tone=tones[c.outcome]),
                Cell(c.why),
                cells.latency(c.latency, "not built" if c.outcome == "not-built" else ""),
                cells.comparison(c.comparison),
                cells.parity(c.parity),
                cells.size(c.size_bytes),
                cells.placement(c.placement),
            )
            for c in manifest.candidates
        ],
    )


def metrics(manifest: Manifest) -> Table:
    """Figures that tools gave beside time: cycles, SRAM, flash."""
    return table(
        "metrics",
        "Other figures",
        ("Target", "Precision", "Figure", "#Value", "Unit", "Kind", "Tool"),
        [
            (
                *head(a),
                Cell(text.words(m.name)),
                cells.number(m.value, text.significant(m.value, 4)),
                Cell(m.unit),
                Cell("", badge=m.kind),
                Cell(f"{m.tool.name} {m.tool.version}"),
            )
            for a in [*manifest.artifacts, *manifest.rejected]
            for m in a.metrics
        ],
    )


def calibration(manifest: Manifest) -> Table:
    """The data that static quantizers saw and that judged them."""
    tones: dict[str, Tone] = {"user": "good", "generic": "", "synthetic": "warn"}
    return table(
        "calibration",
        "Calibration data",
        ("Target", "Precision", "Kind", "What it was", "#Samples", "#Held out"),
        [
            (
                *head(a),
                Cell(c.kind, tone=tones[c.kind]),
                Cell(c.description),
                cells.count(c.samples),
                cells.count(c.held_out),
            )
            for a in [*manifest.artifacts, *manifest.rejected]
            if (c := a.calibration)
        ],
    )


def failures(manifest: Manifest) -> Table:
    """Targets that gave no artifact."""
    return table(
        "failures",
        "Targets that failed",
        ("Target", "What happened", "#Exit code"),
        [
            (cells.name(f.target), Cell(f.error, tone="bad"), cells.count(f.exit_code))
            for f in manifest.failures
        ],
    )


def runtimes(manifest: Manifest) -> Table:
    """What the targets that run on this machine ship, timed in turn: between targets only that says anything."""
    return table(
        "runtimes",
        "Runtimes side by side",
        ("Target", "Precision", "#p50 latency", "#Speed"),
        [
            (
                cells.name(entry.target),
                cells.name(entry.precision, "" if one.part == "main" else f"part {one.part}"),
                cells.latency(entry.latency),
                cells.comparison(entry.comparison),
            )
            for one in manifest.runtimes
            for entry in one.entries
        ],
    )


def programs(manifest: Manifest) -> Table:
    """Models of several parts: how the parts' calls are linked, and how they agree in a row."""
    return table(
        "programs",
        "Parts called in a row",
        (
            "Target",
            "Parts",
            "#State links",
            "#Calls",
            "Verdict",
            "#Mean cosine",
            "#Largest error",
            "#Metric",
            "#Shared weights",
        ),
        [
            (
                cells.name(p.target),
                Cell(", ".join(p.parts), _whole(p)),
                cells.count(len(p.links)),
                cells.count(p.rollout.inputs_tried) if p.rollout else Cell(text.DASH),
                cells.verdict(p.rollout) if p.rollout else Cell("not played"),
                cells.number(p.rollout.cosine, text.cosine(p.rollout.cosine))
                if p.rollout
                else Cell(text.DASH),
                cells.number(p.rollout.max_abs_error, text.significant(p.rollout.max_abs_error or 0))
                if p.rollout
                else Cell(text.DASH),
                cells.metric(p.rollout.metric if p.rollout else None),
                cells.size(p.shared_bytes) if p.shared_bytes else Cell(text.DASH),
            )
            for p in manifest.programs
        ],
    )


def _whole(program: ProgramResult) -> str:
    """What a caller sees of parts that stand for one, and what they are padded with."""
    if program.whole is None:
        return ""
    fill = ", ".join(f"{name} with {value:g}" for name, value in program.whole["fill"].items() if value)
    return f"called as {program.whole['name']}" + (f"; pads {fill}" if fill else "")
