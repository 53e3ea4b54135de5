"""The farm's page in a headless Chromium, and its CSV file in a spreadsheet's eyes."""

from __future__ import annotations

import csv
import io

import pytest

from edgepack.toolchain.farm import page
from edgepack.toolchain.farm.compare import judged
from edgepack.toolchain.report.text import cleaned
from tests.toolchain.browsing import Visit
from tests.toolchain.farm.figures import report, result

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>" + "W" * 200


def found(name="board"):
    good = result(1.0)
    return report(
        judged(result(2.0, device=name), good, 0.1),
        judged(result(0.5, precision="int8"), good, 0.1),
        judged(result(device="phone", plan="one-big"), None, 0.1),
        judged(result(None, device="lost", error="the link broke", unit="", target=""), None, 0.1),
    )


@pytest.mark.system("chromium")
def test_it_draws_fits_and_can_be_read(context, tmp_path):
    (tmp_path / "farm.html").write_bytes(page.html(cleaned(found(EVIL))))
    view = Visit(context, tmp_path / "farm.html")
    text = view.page.inner_text("main")
    for words in ("2.00\u00d7 the time of 2026-01-02", "faster", "the link broke", "int8"):
        assert words in text
    view.check_names_stayed_names()
    view.check_fits()
    view.check_can_be_read()
    view.check_structure()
    view.close()


def test_a_spreadsheet_runs_nothing():
    rows = list(csv.DictReader(io.StringIO(page.comma_separated(found('=HYPERLINK("http://x")')))))
    assert len(rows) == 4
    assert rows[0]["device"] == '\'=HYPERLINK("http://x")'
    assert float(rows[0]["p50_ms"]) == 2.0
    assert rows[3]["p50_ms"] == ""


def test_nothing_to_complain_of():
    assert page.sentences(report(judged(result(), result(), 0.1))) == [
        "Nothing is worse than before by more than 10 %"
    ]
