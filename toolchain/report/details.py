"""The tables behind the choice: parity, worst tensors, placement, operators, stages."""

from __future__ import annotations

import shlex

from edgepack.toolchain.report import cells, text
from edgepack.toolchain.report.cells import Cell, Table, table
from edgepack.toolchain.report.tables import head
from edgepack.toolchain.results import ArtifactResult, Manifest, NodeReason, Parity, Profile

_MAX_SHOWN_TENSORS = 20
_FIGURES = (
    "Verdict",
    "#Mean cosine",
    "#Lowest cosine",
    "#Largest error",
    "#Same top-1",
    "#Same neighbour",
    "#Metric",
    "#Inputs",
    "Reference",
    "First wrong tensor",
)
"""Columns of a parity."""


def accuracy(manifest: Manifest) -> Table:
    """Every figure of each artifact's parity."""
    return table(
        "accuracy",
        "Parity of each artifact with its reference",
        ("Target", "Precision", *_FIGURES),
        [(*head(a), *_figures(a.parity)) for a in [*manifest.artifacts, *manifest.rejected]],
    )


def _best(value: Parity) -> float | None:
    """Share of equal largest classes; of a model that chooses them itself, the least share of equal choices."""
    return value.top1_agreement if not value.choices else min(value.choices.values())


def _figures(value: Parity) -> tuple[Cell, ...]:
    return (
        cells.verdict(value),
        cells.number(value.cosine, text.cosine(value.cosine)),
        cells.number(value.min_cosine, text.cosine(value.min_cosine)),
        cells.number(value.max_abs_error, text.significant(value.max_abs_error or 0)),
        cells.number(_best(value), text.share(_best(value))),
        cells.number(value.neighbour_agreement, text.share(value.neighbour_agreement)),
        cells.metric(value.metric),
        cells.count(value.inputs_tried),
        Cell(value.reference, value.data),
        cells.name(value.first_wrong) if value.first_wrong else Cell("none" if value.passed else text.DASH),
    )


def stage_parity(manifest: Manifest) -> Table:
    """The verification after every arrow of the pipeline."""
    return table(
        "stage-parity",
        "Parity after each stage",
        ("Stage", "For", *_FIGURES),
        [
            (Cell(s.name), Cell(_for(s.target, s.part, s.precision)), *_figures(s.parity))
            for s in manifest.stages
            if s.parity
        ],
    )


def stages(manifest: Manifest) -> Table:
    """Every stage of the run with its seconds, cache hit and counts of changes."""
    return table(
        "stages",
        "Stages of this run",
        ("Stage", "For", "#Seconds", "From cache", "Changed", "Detail"),
        [
            (
                Cell(s.name),
                Cell(_for(s.target, s.part, s.precision)),
                cells.number(s.seconds, text.significant(s.seconds)),
                Cell("yes" if s.cached else "no"),
                Cell(
                    ", ".join(f"{name} {number:,}" for name, number in s.changes.items()),
                    sort=sum(s.changes.values()),
                )
                if s.changes
                else Cell(""),
                Cell(s.detail or ""),
            )
            for s in manifest.stages
        ],
    )


def _for(target: str | None, part: str | None, precision: str | None) -> str:
    return " · ".join(word for word in (target, part, precision) if word) or "the program"


def worst(index: int, artifact: ArtifactResult) -> Table:
    """The tensors of one artifact that are furthest from their reference."""
    return table(
        f"worst-{index}",
        f"Worst tensors of {artifact.target} {artifact.precision}",
        ("Tensor", "Operator", "#Cosine", "#Largest error", "#Signal to noise"),
        [
            (
                cells.name(t.tensor),
                cells.name(t.op),
                cells.number(t.cosine, text.cosine(t.cosine)),
                cells.number(t.max_abs_error, text.significant(t.max_abs_error or 0)),
                cells.number(t.sqnr_db, f"{t.sqnr_db:.1f} dB" if t.sqnr_db is not None else ""),
            )
            for t in artifact.parity.worst[:_MAX_SHOWN_TENSORS]
        ],
    )


def bisect(manifest: Manifest, artifact: ArtifactResult) -> str:
    """The command that blames an artifact's layers."""
    words = ["edgepack", "bisect", manifest.bundle, "--target", artifact.target]
    words += ["--precision", artifact.precision]
    if len({one.part for one in manifest.candidates}) > 1:
        words += ["--part", artifact.part]
    return shlex.join(words)


def reasons(index: int, artifact: ArtifactResult) -> Table:
    """Why operators stay off the accelerator, grouped where many nodes share a reason and its cure."""
    groups: dict[tuple[str, str], list[NodeReason]] = {}
    for reason in artifact.placement.reasons:
        groups.setdefault((reason.reason, reason.cure), []).append(reason)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return table(
        f"reasons-{index}",
        f"Off the accelerator: {artifact.target} {artifact.precision}",
        ("#Nodes", "Operators", "Reason", "Cure", "Which"),
        [
            (
                cells.count(len(nodes)),
                cells.name(", ".join(dict.fromkeys(node.op for node in nodes))),
                Cell(reason),
                Cell(cure or text.DASH),
                cells.drawn([node.node for node in nodes], "node"),
            )
            for (reason, cure), nodes in ordered
        ],
    )


def operators(index: int, artifact: ArtifactResult, profile: Profile) -> Table:
    """Time per operator type within one call, most expensive first."""
    return table(
        f"operators-{index}",
        f"Time per operator: {artifact.target} {artifact.precision}",
        ("Operator", "#Calls", "#Time", "#Share"),
        [
            (
                cells.name(o.op),
                cells.count(o.calls),
                cells.time(o.time_ms),
                cells.number(o.share, text.share(o.share)),
            )
            for o in sorted(profile.operators, key=lambda o: -o.time_ms)
        ],
    )
