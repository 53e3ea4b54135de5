"""The table as people see it: every figure is one that was obtained, and what is not has a reason."""

from __future__ import annotations

import io
import re
from html import unescape
from typing import Any

import pytest
from rich.console import Console

from edgepack.toolchain.bibench import page, shown, words
from edgepack.toolchain.bibench.results import NotTimed
from edgepack.toolchain.errors import UsageError
from tests.toolchain.bibench.tables import PLACES, cell, table, timing

LOST: dict[str, Any] = {
    "accuracy": None,
    "training": None,
    "complexity": None,
    "artifact": None,
    "corrupted": [],
}


def section(results, id_):
    return next(section for section in words.sections(results) if section.id == id_)


def test_figures_stand_beside_those_of_fp32():
    results = table()
    assert section(results, "accuracy").rows[1] == ("bnn", "60.0 (75 %)", "60.0 (75 %)", "60.0 (75 %)")
    assert section(results, "training").rows[1][1] == "2.0 s (2.0), 1.0 MiB (1.0)"
    assert section(results, "inference").rows[1][1].startswith("0.250 ms, 4.00x [3.60, 4.40], ")
    assert section(results, "complexity").rows[1][1] == "0.00 + 0.00 M, 6.7x, 16.5x"
    robust = section(results, "corruption")
    assert robust.head[:4] == ("Method", "not corrupted", "noise", "blur")
    assert robust.rows[0][-2:] == ("1.00", "1.00")
    assert len(section(results, "overall").rows) == 2
    assert words.reasons(results) == [
        "bnn, training: time alone, no learning rates were varied",
        "reactnet, training: time alone, no learning rates were varied",
    ]


def test_what_is_missing_is_a_dash_with_its_reason_and_never_a_number():
    cells = [cell(*at, "fp32") for at in PLACES]
    cells += [cell(*PLACES[0], "bnn"), cell(*PLACES[1], "bnn", missing="it | diverged", **LOST)]
    cells += [cell(*PLACES[2], "bnn", artifact=None, not_exported="no operator for it")]
    timings = [timing(*PLACES[0], name) for name in ("fp32", "bnn")]
    results = table(("bnn",), cells=cells, timings=timings)
    results.not_timed = [NotTimed(task="text", architecture="transformer", reason="it was not loaded")]
    for name in ("accuracy", "training", "complexity", "inference"):
        assert section(results, name).rows[1][2] == "-", name
    assert section(results, "inference").rows[1][3] == "-"
    assert section(results, "overall").rows[0][2:] == ("-",) * 6
    said = words.reasons(results)
    assert "image, transformer, bnn: it | diverged" in said
    assert "text, transformer, bnn, inference: no operator for it" in said
    assert "text, transformer, inference: it was not loaded" in said
    assert "bnn, task: image transformer: it | diverged" in said
    written = shown.markdown(results)
    rows = [line for line in written.splitlines() if line.startswith("| bnn")]
    assert len(rows) == 6
    assert "image, transformer, bnn: it | diverged" in written


def test_markdown_is_put_between_its_markers():
    document = f"before\n{shown.PLACE.begin}\nold\n{shown.PLACE.end}\nafter\n"
    once = shown.put(document, table())
    assert once == shown.put(once, table())
    assert "\nold\n" not in once
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    for block in once.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) <= 1
    with pytest.raises(UsageError, match="markers"):
        shown.put("nothing", table())


def test_the_terminal_shows_every_table_and_how_it_was_made():
    stream = io.StringIO()
    Console(width=220, file=stream).print(shown.terminal(table()))
    out = stream.getvalue()
    for part in words.sections(table()):
        assert part.title in out
    assert "ranks no method" in out
    assert "ranks no method" not in " ".join(words.conditions(table(full=True)))


def test_the_page_needs_nothing_else_and_escapes_text():
    results = table()
    results.command = "<b>1 & 2</b>"
    html = page.html(results).decode()
    assert "default-src 'none'; script-src 'sha256-" in unescape(html)
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", html)
    assert "&lt;b&gt;1 &amp; 2&lt;/b&gt;" in html
    assert html.count("data-figure=") == 2
