"""The report's plots: latency, size, memory, placement, operators.

Figures of different kinds never share an axis: a vendor's estimate is a plot of its own.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TypeVar

from edgepack.toolchain.report import cells, text
from edgepack.toolchain.report.bars import Bar, Figure, figure
from edgepack.toolchain.results import ArtifactResult, CandidateResult, Latency, Manifest, Profile

T = TypeVar("T")

_TOP_OPERATORS = 10
_KINDS = ("measured", "simulated", "counted", "vendor-estimate")
_LATENCY_WORDS = {
    "measured": (
        "Measured latency",
        (
            "Median time of one call, measured on the machine described below; whiskers are the 95 % "
            "confidence interval of the median."
        ),
    ),
    "vendor-estimate": (
        "Vendors' latency estimates",
        (
            "What the vendors' tools estimate for their devices. Nothing was timed, so there is no interval, "
            "and these bars cannot be compared with measured ones."
        ),
    ),
    "simulated": ("Simulated latency", "Times that a simulator gave. Nothing was timed on a device."),
    "counted": ("Counted latency", "Times that were counted from the graph. Nothing was timed."),
}


def latency(manifest: Manifest) -> list[Figure]:
    """Median latencies with confidence intervals, losers of the choice included; one figure per kind."""
    found = _entries(manifest, lambda entry: entry.latency)
    figures = []
    for kind in _KINDS:
        rows = [(label, status, value) for label, status, value in found if value.kind == kind]
        if not rows:
            continue
        title, words = _LATENCY_WORDS[kind]
        # Bars on one axis invite comparison: say when they were not timed alike.
        if len({str(sorted(value.shapes.items())) for *_, value in rows if value.shapes}) > 1:
            words += " Input shapes differ between bars: see the timing table before comparing."
        if len({value.threads for *_, value in rows if value.threads is not None}) > 1:
            words += " Thread counts differ between bars."
        bars = [_latency_bar(*row) for row in rows]
        axis = "milliseconds per call (median)"
        figures.append(figure(f"latency-{kind}", title, words, bars, axis, kind=kind))
    return figures


def _latency_bar(label: str, status: str, value: Latency) -> Bar:
    shown = text.milliseconds(value.p50_ms)
    lines = (label, f"p50 {shown}, {value.kind}", cells.interval(value), value.note or "")
    hover = "<br>".join(html.escape(line) for line in lines if line)
    return Bar(label, value.p50_ms, shown, hover, status, value.ci_low_ms, value.ci_high_ms)


def sizes(manifest: Manifest) -> list[Figure]:
    """Size on disk of every artifact and candidate that was built."""
    bars = [
        Bar(label, value / 2**20, text.size(value), html.escape(f"{label}: {text.size(value)}"), status)
        for label, status, value in _entries(manifest, lambda entry: entry.size_bytes)
    ]
    return (
        [figure("sizes", "Size", "All files of the artifact.", bars, "MiB", kind="counted")] if bars else []
    )


def memory(manifest: Manifest) -> list[Figure]:
    """Peak memory of a process that loads and runs the artifact; the pale part was there before."""
    found = _entries(manifest, lambda entry: entry.memory if isinstance(entry, ArtifactResult) else None)
    caption = "Peak memory of a fresh process that loads the artifact and runs it once."
    figures = []
    for kind in _KINDS:
        bars = []
        for label, status, value in found:
            if value.kind != kind:
                continue
            before, shown = value.baseline_bytes, text.size(value.peak_bytes)
            hover = f"{label}: peak {shown}" + (
                "" if before is None else f", {text.size(before)} before loading"
            )
            base = None if before is None else min(before, value.peak_bytes) / 2**20
            bars.append(Bar(label, value.peak_bytes / 2**20, shown, html.escape(hover), status, base=base))
        if bars:
            pale = " The pale part was there before loading." if any(b.base is not None for b in bars) else ""
            figures.append(figure(f"memory-{kind}", "Memory", caption + pale, bars, "MiB, peak", kind=kind))
    return figures


def placement(manifest: Manifest) -> list[Figure]:
    """Share of the operators on the accelerator, for targets that have one."""
    bars = []
    for label, status, value in _entries(manifest, lambda entry: entry.placement):
        part = cells.placement_share(value)
        if part is not None:
            hover = f"{label}: {value.accelerator:,} on {value.device}, {value.cpu:,} on the CPU"
            shown = f"{text.share(part)} of {value.accelerator + value.cpu:,}"
            bars.append(Bar(label, part * 100, shown, html.escape(hover), status))
    if not bars:
        return []
    caption = "Operators that run on the accelerator. A share of operators is not a share of the time."
    drawn = figure("placement", "On the accelerator", caption, bars, "% of the operators", kind="counted")
    drawn.spec["layout"]["xaxis"] |= {"range": [0, 100], "autorange": False}
    return [drawn]


def operators(index: int, artifact: ArtifactResult, profile: Profile) -> Figure:
    """The operators that take the most time within one call."""
    bars = []
    for o in sorted(profile.operators, key=lambda o: -o.time_ms)[:_TOP_OPERATORS]:
        shown = f"{text.milliseconds(o.time_ms)} · {text.share(o.share)}"
        hover = html.escape(f"{o.op}: {text.plural(o.calls, 'call')}, {shown}")
        bars.append(Bar(f"{o.op} {text.TIMES}{o.calls}", o.time_ms, shown, hover))
    estimated = artifact.latency is not None and artifact.latency.kind == "vendor-estimate"
    verb = "estimated by" if estimated else "from"
    by = f", {verb} {profile.tool.name} {profile.tool.version}" if profile.tool else ""
    most = f"The {len(bars)} operators" if len(bars) < len(profile.operators) else "Operators"
    caption = f"{most} by their time within one call, most first{by}."
    title = f"Operators of {artifact.target} {artifact.precision}"
    return figure(f"operators-plot-{index}", title, caption, bars, "milliseconds per call")


def _entries(
    manifest: Manifest, value_of: Callable[[ArtifactResult | CandidateResult], T | None]
) -> list[tuple[str, str, T]]:
    """Label, status and value of everything that has one, by target; an artifact stands for its candidate."""
    found: dict[tuple[str, str, str], tuple[str, T]] = {}
    groups: tuple[tuple[str, Sequence[ArtifactResult | CandidateResult]], ...] = (
        ("ship", manifest.artifacts),
        ("rejected", manifest.rejected),
        ("", manifest.candidates),
    )
    for group, entries in groups:
        for entry in entries:
            value = value_of(entry)
            if value is None:
                continue
            status = group
            if isinstance(entry, CandidateResult):
                status = {"chosen": "ship", "failed-gate": "rejected"}.get(entry.outcome, "considered")
            found.setdefault((entry.target, entry.part, entry.precision), (status, value))
    targets = list(dict.fromkeys(target for target, _, _ in found))
    many = len({part for _, part, _ in found}) > 1
    ranked = sorted(found.items(), key=lambda item: (targets.index(item[0][0]), item[0][1]))
    return [
        (f"{target} · {part} · {precision}" if many else f"{target} · {precision}", status, value)
        for (target, part, precision), (status, value) in ranked
    ]
