"""The first thing a reader sees: per target, what to ship, how fast it is, and that its gate passed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from edgepack.toolchain.report import cells, text
from edgepack.toolchain.report.cells import Cell
from edgepack.toolchain.results import ArtifactResult, Manifest, Parity


@dataclass(frozen=True)
class Shipped:
    """One artifact to ship: its figures as cells, and the whole as a sentence."""

    part: str
    precision: str
    files: list[str]
    latency: Cell
    latency_note: str
    speedup: Cell | None
    gate: Cell
    size: Cell
    memory: Cell
    placement: Cell
    sentence: str


@dataclass(frozen=True)
class TargetSummary:
    """What became of one target.

    Attributes:
        state: "ship", or why there is nothing to: "rejected" by the gate, "failed", or "nothing".
        lines: The errors, or the gates that were missed.
    """

    target: str
    state: Literal["ship", "rejected", "failed", "nothing"]
    shipped: list[Shipped] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def sentences(self) -> list[str]:
        """The summary as plain sentences."""
        if self.shipped:
            return [f"{self.target}: {one.sentence}" for one in self.shipped]
        head = {
            "rejected": "nothing to ship, the gate failed",
            "failed": "failed",
            "nothing": "nothing to ship",
        }
        tail = f": {'; '.join(self.lines)}" if self.lines else ""
        return [f"{self.target}: {head.get(self.state, '')}{tail}"]


def summarize(manifest: Manifest) -> list[TargetSummary]:
    """One summary per target, in the order in which the manifest names them."""
    groups = (manifest.artifacts, manifest.rejected, manifest.candidates, manifest.failures)
    names = dict.fromkeys(entry.target for group in groups for entry in group)
    return [_of_target(manifest, target) for target in names]


def _of_target(manifest: Manifest, target: str) -> TargetSummary:
    shipped = [_shipped(a) for a in manifest.artifacts if a.target == target]
    errors = [f.error for f in manifest.failures if f.target == target]
    missed = [
        f"{a.precision}: {'; '.join(a.parity.failed) or 'gate failed'}"
        for a in manifest.rejected
        if a.target == target
    ]
    if shipped:
        return TargetSummary(target, "ship", shipped, errors)
    if errors:
        return TargetSummary(target, "failed", lines=errors)
    return TargetSummary(target, "rejected" if missed else "nothing", lines=missed)


def _shipped(artifact: ArtifactResult) -> Shipped:
    timed = artifact.latency
    compared = artifact.comparison
    return Shipped(
        part=artifact.part,
        precision=artifact.precision,
        files=artifact.files,
        latency=cells.latency(timed),
        latency_note=(timed.note or "") if timed else "",
        speedup=cells.comparison(compared) if compared else None,
        gate=_gate(artifact.parity),
        size=cells.size(artifact.size_bytes),
        memory=cells.memory(artifact.memory),
        placement=cells.placement(artifact.placement),
        sentence=_sentence(artifact),
    )


def _gate(parity: Parity) -> Cell:
    verdict = cells.verdict(parity)
    if parity.cosine is None or parity.unverified is not None:
        return verdict
    note = "; ".join(part for part in (f"mean cosine {text.cosine(parity.cosine)}", verdict.note) if part)
    return replace(verdict, note=note)


def _sentence(artifact: ArtifactResult) -> str:
    timed, compared = artifact.latency, artifact.comparison
    speed = "not timed"
    if timed:
        # An estimate never stands alone: what it leaves out goes with it.
        note = f"; {timed.note}" if timed.note and timed.kind != "measured" else ""
        speed = f"{text.milliseconds(timed.p50_ms)} a call ({timed.kind}{note})"
    if compared:
        doubt = " (can't tell them apart)" if compared.verdict == "can't tell" else ""
        speed += f", {text.ratio(compared.ratio)} the speed of {compared.baseline}{doubt}"
    verdict = "gate passed" if artifact.parity.passed else "gate FAILED"
    if artifact.parity.unverified is not None:
        verdict = f"NOT VERIFIED: {artifact.parity.unverified}"
    elif artifact.parity.cosine is not None:
        verdict += f", cosine {text.cosine(artifact.parity.cosine)}"
    files = ", ".join(artifact.files) or "no file"
    what = artifact.precision if artifact.part == "main" else f"{artifact.part}, {artifact.precision}"
    return f"ship {files} ({what}): {speed}; {verdict}"


def callouts(manifest: Manifest) -> list[str]:
    """What must not be overlooked: synthetic calibration first, then the run's other warnings."""
    synthetic = dict.fromkeys(
        f"{a.target} {a.precision}"
        for a in [*manifest.artifacts, *manifest.rejected]
        if a.calibration and a.calibration.kind == "synthetic"
    )
    lines = sorted(manifest.warnings, key=lambda line: "synthetic" not in line)
    if synthetic and not any("synthetic" in line for line in lines):
        which = ", ".join(synthetic)
        lines.insert(
            0,
            f"Calibrated on synthetic data only: {which}. Activation ranges and accuracy on real inputs "
            "may differ; calibrate again with --calibration DATA.",
        )
    return lines
