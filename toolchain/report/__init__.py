"""Measurements made readable: report.json, report.html, report.md and a table for the terminal.

Everything here draws from one typed `results.Manifest`. Only jinja2 and rich are imported, and
only when something is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgepack.toolchain.results import Manifest

JSON_FILE = "report.json"
HTML_FILE = "report.html"
MARKDOWN_FILE = "report.md"


def write(manifest: Manifest, folder: Path) -> list[str]:
    """Write the three reports into `folder`, which must exist.

    report.json is the manifest without the file hashes; report.html needs no other file and no
    network; report.md is for a pull request or a terminal.

    Args:
        manifest: The results of a run.
        folder: The bundle (or the folder that becomes it).

    Returns:
        Names of the files written, relative to `folder`.

    Raises:
        OSError: The folder cannot be written to, or the disk is full.
    """
    from edgepack.toolchain.report import machine, markdown, page
    from edgepack.toolchain.report.text import cleaned

    shown = cleaned(manifest)
    contents = {
        JSON_FILE: machine.machine(manifest).encode(),
        HTML_FILE: page.html(shown),
        MARKDOWN_FILE: markdown.markdown(shown).encode(),
    }
    for name, content in contents.items():
        # Bytes: the page's script hashes hold for exactly these, on Windows too.
        (folder / name).write_bytes(content)
    return list(contents)


def terminal(manifest: Manifest) -> RenderableType:
    """The results as tables for `rich.console.Console.print`."""
    from edgepack.toolchain.report import console
    from edgepack.toolchain.report.text import cleaned

    return console.render(cleaned(manifest))
