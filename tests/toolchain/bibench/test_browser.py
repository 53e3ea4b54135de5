"""bibench.html in a headless Chromium: it draws, stays quiet, fits a phone, and can be read."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext

from edgepack.toolchain.bibench import page
from edgepack.toolchain.bibench.results import BibenchResults
from tests.toolchain.bibench.tables import table
from tests.toolchain.browsing import Visit

pytestmark = pytest.mark.system("chromium")


def visit(context: BrowserContext, results: BibenchResults, folder) -> Visit:
    file = folder / "bibench.html"
    file.write_bytes(page.html(results))
    return Visit(context, file)


@pytest.fixture(scope="module")
def once(context: BrowserContext, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    return visit(context, table(), tmp_path_factory.mktemp("bibench"))


def test_points_and_lines_are_drawn(opened):
    points = '[data-figure="{}"] .points path.point'
    assert opened.page.locator(points.format("speed")).count() == 2 * 3
    assert opened.page.locator(points.format("severity")).count() == 3 * 3
    assert opened.page.locator('[data-figure="severity"] .lines path.js-line').count() == 3
    assert opened.page.locator("#accuracy tbody tr").count() == 3


def test_fits(opened):
    opened.check_fits()


def test_all_text_can_be_read(opened):
    assert opened.check_can_be_read() > 200


def test_structure_for_assistive_technology(opened):
    opened.check_structure()


def test_hostile_names_neither_run_nor_ask_nor_spread(context, tmp_path):
    evil = "<img src=x onerror=alert(1)></script><a href='https://evil.example/'>" + "W" * 300
    results = table((evil,))
    results.command, results.tasks = evil, {"image": evil, "text": evil}
    results.cells[1].not_exported = evil
    view = visit(context, results, tmp_path)
    view.check_names_stayed_names()
    view.close()


def test_without_cells_it_is_a_page_too(context, tmp_path):
    view = visit(context, table((), cells=[], timings=[]), tmp_path)
    assert view.page.locator(".plot").count() == 0
    view.close()
