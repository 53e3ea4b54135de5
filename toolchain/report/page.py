"""report.html: the page of a bundle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.report import details, facts, figures, tables
from edgepack.toolchain.report.document import TEMPLATES, rendered
from edgepack.toolchain.report.summary import callouts, summarize
from edgepack.toolchain.results import ArtifactResult, Manifest

if TYPE_CHECKING:
    from edgepack.toolchain.report.cells import Table


def html(manifest: Manifest) -> bytes:
    """The page in UTF-8; `manifest` must have gone through `text.cleaned`."""
    view = _view(manifest)
    return rendered(TEMPLATES / "report.html", view, view["all_figures"])


def _view(manifest: Manifest) -> dict[str, Any]:
    """Everything that the template shows."""
    everything = [*manifest.artifacts, *manifest.rejected]
    latency = figures.latency(manifest)
    size = [*figures.sizes(manifest), *figures.memory(manifest)]
    placed = figures.placement(manifest)
    operators = [_operators(i, a) for i, a in enumerate(everything)]
    drawn = [*latency, *size, *placed, *(o["figure"] for o in operators if o["figure"])]
    return {
        "manifest": manifest,
        "summary": summarize(manifest),
        "callouts": callouts(manifest),
        "latency": latency,
        "size": size,
        "placement": placed,
        "reasons": [_reasons(i, a) for i, a in enumerate(everything) if _placed(a)],
        "operators": operators,
        "all_figures": drawn,
        "rejected_details": [
            (a, details.worst(i, a), details.bisect(manifest, a)) for i, a in enumerate(manifest.rejected)
        ],
        "tables": _tables(manifest),
        "source": facts.source(manifest.source),
        "environment": facts.environment(manifest.environment),
        "recipe": json.dumps(manifest.recipe, indent=2, ensure_ascii=False, default=str),
    }


def _tables(manifest: Manifest) -> dict[str, Table]:
    makers = (
        tables.artifacts,
        tables.rejected,
        tables.timing,
        tables.candidates,
        tables.runtimes,
        details.accuracy,
        details.stage_parity,
        details.stages,
        tables.metrics,
        tables.calibration,
        tables.failures,
        tables.programs,
        facts.tools,
    )
    made = [make(manifest) for make in makers]
    return {one.id: one for one in (*made, facts.packages(manifest.environment))}


def _placed(artifact: ArtifactResult) -> bool:
    return artifact.placement.device is not None or bool(artifact.placement.reasons)


def _reasons(index: int, artifact: ArtifactResult) -> dict[str, Any]:
    return {"artifact": artifact, "table": details.reasons(index, artifact)}


def _operators(index: int, artifact: ArtifactResult) -> dict[str, Any]:
    profile = artifact.profile
    known = profile is not None and bool(profile.operators)
    missing = "not profiled" if profile is None else profile.missing or "the profiler named no operator"
    return {
        "artifact": artifact,
        "missing": "" if known else missing,
        "figure": figures.operators(index, artifact, profile) if known and profile else None,
        "table": details.operators(index, artifact, profile) if known and profile else None,
    }
