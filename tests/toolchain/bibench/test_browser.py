"""bibench.html in a headless Chromium: it draws, stays quiet, fits a phone, and can be read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext

from edgepack.toolchain.bibench import page
from edgepack.toolchain.bibench.results import BibenchResults
from tests.toolchain.bibench.tables import table
from tests.toolchain.browsing import PHONE, SMALL_PHONE, WIDE, Visit, browser

pytestmark = pytest.mark.system("chromium")


def visit(context: BrowserContext, results: BibenchResults, folder) -> Visit:
    file = folder / "bibench.html"
    file.write_bytes(page.html(results))
    return Visit(context, file)


@pytest.fixture(scope="module")
def context(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with browser(chromium, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def once(context: BrowserContext, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    return visit(context, table(), tmp_path_factory.mktemp("bibench"))


@pytest.fixture
def opened(once: Visit) -> Iterator[Visit]:
    """The page, light and wide; whatever a test does with it, it must stay quiet and ask for nothing."""
    once.page.emulate_media(color_scheme="light")
    once.resize(WIDE)
    yield once
    assert once.said == []
    assert once.requests == [once.url]


def test_points_and_lines_are_drawn(opened):
    points = '[data-figure="{}"] .points path.point'
    assert opened.page.locator(points.format("speed")).count() == 2 * 3
    assert opened.page.locator(points.format("severity")).count() == 3 * 3
    assert opened.page.locator('[data-figure="severity"] .lines path.js-line').count() == 3
    assert opened.page.locator("#accuracy tbody tr").count() == 3


@pytest.mark.parametrize("size", [PHONE, SMALL_PHONE, WIDE], ids=["phone", "small phone", "desk"])
def test_fits(opened, size):
    opened.resize(size)
    assert opened.probe("overflow") <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(opened, scheme):
    opened.page.emulate_media(color_scheme=scheme)
    opened.settle()
    found = opened.probe("lowContrast")
    assert found["seen"] > 100
    assert found["bad"] == []


def test_structure_for_assistive_technology(opened):
    found = opened.probe("structure")
    assert found.pop("levels").count(1) == 1
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_hostile_names_neither_run_nor_ask_nor_spread(context, tmp_path):
    evil = "<img src=x onerror=alert(1)></script><a href='https://evil.example/'>" + "W" * 300
    results = table((evil,))
    results.command, results.tasks = evil, {"image": evil, "text": evil}
    results.cells[1].not_exported = evil
    view = visit(context, results, tmp_path)
    assert view.page.locator("a:not([href^='#']), svg a, img[src='x']").count() == 0
    view.resize(PHONE)
    assert view.probe("overflow") <= 0
    view.page.close()
    assert view.said == []
    assert view.requests == [view.url]


def test_without_cells_it_is_a_page_too(context, tmp_path):
    view = visit(context, table((), cells=[], timings=[]), tmp_path)
    assert view.page.locator(".plot").count() == 0
    view.page.close()
    assert view.said == []
