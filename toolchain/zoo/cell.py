"""From a run's manifest to a cell of the matrix: what ships, what stays on the CPU, and why the rest does not ship."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.results import ArtifactResult, Manifest, Placement
from edgepack.toolchain.zoo.results import Cell, Left, Outcome, PartCell

MACS = "macs on the npu"
"""Name of the figure that NPU targets give of what they compiled."""
_ALL = "whole model"


def of_manifest(name: str, system: str, config: str, target: str, manifest: Manifest) -> Cell:
    """The cell of one target's run.

    Args:
        name: The architecture.
        system: Its row.
        config: The configuration that was run.
        target: The only target of the run.
        manifest: What the run left.
    """
    ships = {artifact.part: artifact for artifact in manifest.artifacts}
    known = list(dict.fromkeys([*ships, *(line.part for line in manifest.candidates)]))
    parts = [
        _shipped(manifest, ships[part]) if part in ships else _not_shipped(manifest, part) for part in known
    ]
    failures = [failure.error for failure in manifest.failures]
    outcome: Outcome = "runs"
    if failures or not parts or len(ships) < len(known):
        outcome = "blocked"
    elif not target.startswith(("cpu:", "mobile:")) and any(part.cpu for part in parts):
        outcome = "partly"
    why = " / ".join(failures) or ("nothing was built" if outcome == "blocked" else None)
    return Cell(
        name=name, system=system, config=config, target=target, outcome=outcome, parts=parts, why=why,
    )  # fmt: skip


def of_error(name: str, system: str, config: str, target: str, error: EdgepackError) -> Cell:
    """The cell of a run that gave nothing at all."""
    return Cell(
        name=name, system=system, config=config, target=target, outcome="blocked",
        parts=[PartCell(part=_ALL, why=str(error))], why=str(error),
    )  # fmt: skip


def _shipped(manifest: Manifest, artifact: ArtifactResult) -> PartCell:
    placement = artifact.placement
    unknown = not placement.accelerator + placement.cpu
    here = artifact.target.startswith(("cpu:", "mobile:"))
    share = next((figure.value for figure in artifact.metrics if figure.name == MACS), None)
    return PartCell(
        part=artifact.part,
        precision=artifact.precision,
        accelerator=None if unknown or here else placement.accelerator,
        cpu=None if unknown else placement.cpu,
        macs=share,
        left=[] if here else left(placement),
        rounded=[
            line.precision
            for line in manifest.candidates
            if line.part == artifact.part
            and line.parity is not None
            and line.parity.passed
            and line.precision.startswith("int")
        ],
    )


def _not_shipped(manifest: Manifest, part: str) -> PartCell:
    tried: Sequence[str] = [
        f"{line.precision}: {line.why}"
        for line in manifest.candidates
        if line.part == part and line.outcome in {"failed", "failed-gate"}
    ]
    return PartCell(part=part, why=" / ".join(tried) or "no form of it was built")


def left(placement: Placement) -> list[Left]:
    """The operators off the accelerator, equal ones with equal reasons together, most frequent first."""
    counts = Counter((reason.op, reason.reason) for reason in placement.reasons)
    return [Left(op=op, count=count, reason=why) for (op, why), count in counts.most_common()]
