"""One HTML file that needs nothing else, neither network nor server: what every page is written with.

Plots are drawn by plotly.js, taken from the installed Python package `plotly`: it is pinned with
the rest of the environment, so no copy of a script is kept here, and it draws intervals, hatching
and hovering as they are. (Vega would be smaller, but no Python package of the default installation
carries its script, and a page that must open offline cannot load one.)

Nothing in a result is trusted: the templates escape all text, the figures are data and not
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

if TYPE_CHECKING:
    import jinja2

    from edgepack.toolchain.report.bars import Figure

TEMPLATES = Path(__file__).parent / "templates"
"""`base.html`, which the pages extend, their macros, style and script."""


def rendered(path: Path, view: dict[str, Any], drawn: Sequence[Figure]) -> bytes:
    """A page in UTF-8.

    Args:
        path: Its template, which extends `base.html`.
        view: What it shows, by the template's names.
        drawn: The figures among that.
    """
    from markupsafe import Markup

    plotly, script = plotly_script() if drawn else b"", _read("page.js")
    # Megabytes that no template needs to carry through; random, so that no result can hold it.
    placeholder = secrets.token_hex(16) if plotly else ""
    page = template(path).render(
        **view,
        csp=policy([plotly, script.encode()]),
        css=Markup(_read("page.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        plotly=placeholder,
        plotly_missing=bool(drawn) and not plotly,
        figures_json=Markup(script_json({f.id: f.spec for f in drawn})),  # noqa: S704 - escaped
    )
    encoded = page.encode()
    return encoded.replace(placeholder.encode(), plotly, 1) if plotly else encoded


@functools.cache
def template(path: Path) -> jinja2.Template:
    """A page's template; compiling it is half of what a report costs, so once in a process."""
    import jinja2

    environment = jinja2.Environment(
        bytecode_cache=_bytecode_cache(),
        loader=jinja2.FileSystemLoader([path.parent, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(path.name)


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
