"""The tables of the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgepack.toolchain import report


def printed(manifest, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(report.terminal(manifest))
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_figures_stay_whole_at_any_width(manifest, width):
    shown = printed(manifest, width)
    assert max(len(line) for line in shown.splitlines()) <= width
    for figure in (
        "7.91 ms",
        "412 ms",
        "vendor-estimate",
        "2.44\N{MULTIPLICATION SIGN}",
        "0.9931",
        "142 MiB",
        "86 %",
        "23.0 MiB",
    ):
        assert figure in shown, figure


def test_everything_that_needs_attention(manifest):
    shown = printed(manifest, 160)
    for words in ("synthetic", "Warning: The load average", "Vela failed with signal 11", "failed gate"):
        assert words.lower() in shown.lower(), words
    assert "int8-static" in shown.partition("Rejected: built")[2].partition("What was considered")[0]


def test_nothing_to_show(bare):
    shown = printed(bare, 80)
    assert "empty" in shown
    assert "Artifacts" not in shown


def test_names_are_not_markup_and_send_no_escapes(manifest):
    manifest.artifacts[0].target = "[red]x[/nothing]\x1b[31m"
    manifest.warnings = ["[/] \x1b]0;title\x07"]
    shown = printed(manifest, 160)
    assert "[red]x[/nothing]" in shown
    assert "[/]" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
