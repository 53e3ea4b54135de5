"""report.html: one file that needs nothing else, neither network nor server.

Plots are drawn by plotly.js, taken from the installed Python package `plotly`: it is pinned with
the rest of the environment, so no copy of a script is kept here, and it draws intervals, hatching
and hovering as they are. (Vega would be smaller, but no Python package of the default installation
carries its script, and a page that must open offline cannot load one.)

Nothing in a manifest is trusted: the template escapes all text, the figures are data and not
code, and the page's Content-Security-Policy allows exactly the two scripts below, by their
SHA-256, and no request of any kind.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.util
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.cache import default_root
from edgepack.toolchain.report import details, facts, figures, tables
from edgepack.toolchain.report.summary import callouts, summarize
from edgepack.toolchain.results import ArtifactResult, Manifest

if TYPE_CHECKING:
    import jinja2

    from edgepack.toolchain.report.bars import Figure
    from edgepack.toolchain.report.cells import Table

TEMPLATES = Path(__file__).parent / "templates"


def html(manifest: Manifest) -> bytes:
    """The page in UTF-8; `manifest` must have gone through `text.cleaned`."""
    view = _view(manifest)
    return rendered("report.html", view, view["all_figures"])


def rendered(name: str, view: dict[str, Any], drawn: Sequence[Figure]) -> bytes:
    """A page in UTF-8 from its template, what it shows, and the figures among that."""
    from markupsafe import Markup

    plotly, script = plotly_script() if drawn else b"", _read("report.js")
    # Megabytes that no template needs to carry through; random, so that no manifest can hold it.
    placeholder = secrets.token_hex(16) if plotly else ""
    page = template(name).render(
        **view,
        csp=policy([plotly, script.encode()]),
        css=Markup(_read("report.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        plotly=placeholder,
        plotly_missing=bool(drawn) and not plotly,
        figures_json=Markup(script_json({f.id: f.spec for f in drawn})),  # noqa: S704 - escaped
    )
    encoded = page.encode()
    return encoded.replace(placeholder.encode(), plotly, 1) if plotly else encoded


@functools.cache
def template(name: str) -> jinja2.Template:
    """A page's template; compiling it is half of what a report costs, so once in a process."""
    import jinja2

    environment = jinja2.Environment(
        bytecode_cache=_bytecode_cache(),
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _bytecode_cache() -> jinja2.BytecodeCache | None:
    """Compiled templates, kept beside the stages: saves a tenth of a second on every run."""
    import jinja2

    folder = default_root() / "templates"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return None
    return jinja2.FileSystemBytecodeCache(str(folder))


def plotly_script() -> bytes:
    """plotly.js in UTF-8, or nothing when the package is not there (the page then says so)."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        return b""
    path = Path(next(iter(spec.submodule_search_locations))) / "package_data" / "plotly.min.js"
    if not path.is_file():
        return b""
    script = path.read_bytes()
    # The first two would end or confuse the script element, the third would be changed by a
    # browser before it is hashed; no release has held one so far.
    return b"" if any(mark in script for mark in (b"</script", b"<!--", b"\r")) else script


def policy(scripts: list[bytes]) -> str:
    """A Content-Security-Policy without any source but these inline scripts, inline style and data images.

    plotly.js writes style elements and attributes, hence 'unsafe-inline' for style; with every
    other source forbidden a style has nowhere to send anything.
    """
    hashes = [base64.b64encode(hashlib.sha256(s).digest()).decode() for s in scripts if s]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def script_json(value: object) -> str:
    """JSON that may stand inside a script element: no '<', '>', '&' or line separator, and no NaN."""
    dumped = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII: U+2028 is escaped
    return dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


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
