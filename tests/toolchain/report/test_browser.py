"""report.html in a headless Chromium: it draws, stays quiet, sorts, filters, fits a phone, and can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from edgepack.toolchain import report
from edgepack.toolchain.results import Manifest
from tests.toolchain.browsing import PHONE, PROBES, SMALL_PHONE, WIDE, Visit

pytestmark = pytest.mark.system("chromium")


def visit(context: BrowserContext, manifest: Manifest, folder: Path) -> Visit:
    report.write(manifest, folder)
    return Visit(context, folder / "report.html")


@pytest.fixture(scope="module")
def once(
    context: BrowserContext, tmp_path_factory: pytest.TempPathFactory, whole_manifest: Manifest
) -> Visit:
    return visit(context, whole_manifest, tmp_path_factory.mktemp("full"))


def test_every_plot_has_its_bars_and_whiskers(opened):
    assert opened.probe("drawn") == {
        "latency-measured": [5, 5],
        "latency-vendor-estimate": [2, 0],
        "sizes": [5, 0],
        "memory-measured": [3, 0],
        "placement": [3, 0],
        "operators-plot-0": [7, 0],
        "operators-plot-2": [0, 0],  # folded
    }


def test_folded_plots_are_drawn_when_opened(opened):
    plot = opened.page.locator('[data-figure="operators-plot-2"]')
    opened.page.locator("details.fold", has=plot).locator("summary").first.click()
    plot.locator(".bars .point").first.wait_for()
    assert opened.probe("drawn")["operators-plot-2"] == [7, 0]


def test_sorting_by_pointer_and_keyboard(opened):
    head = opened.page.locator("#candidates th", has_text="p50 latency")
    ascending = ["7.91 ms", "9.20 ms", "11.5 ms", "19.3 ms"]
    assert opened.probe("column", "candidates", "p50 latency") != [*ascending, "—", "—"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert opened.probe("column", "candidates", "p50 latency") == [*ascending, "—", "—"]
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    shown = opened.probe("column", "candidates", "p50 latency")
    assert shown == [*ascending[::-1], "—", "—"], "a figure that nobody has is last either way"
    other = opened.page.locator("#candidates th", has_text="Outcome")
    other.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "none"
    outcomes = opened.probe("column", "candidates", "Outcome")
    assert outcomes == sorted(outcomes)
    assert len(outcomes) == 6


def test_filtering(opened):
    field = opened.page.get_by_label("Filter").and_(opened.page.locator("#filter-candidates"))
    said = opened.page.locator(".tablebox", has=opened.page.locator("#candidates")).get_by_role("status")
    field.fill("LITERT fp32")
    assert opened.probe("column", "candidates", "Target") == ["mobile:litert"]
    assert said.inner_text() == "1 of 6 rows"
    field.fill("no such words")
    assert opened.probe("column", "candidates", "Target") == []
    field.fill("")
    assert len(opened.probe("column", "candidates", "Target")) == 6
    assert said.inner_text() == ""


@pytest.mark.parametrize("size", [PHONE, SMALL_PHONE, WIDE], ids=["phone", "small phone", "desk"])
def test_fits(opened, size):
    opened.check_fits(size)
    assert opened.probe("clashes") == []
    if size is not WIDE:
        assert opened.probe("scrollable", "artifacts") > 0, "a table scrolls inside its box"


def test_dark_mode_changes_page_and_plots_at_once(opened):
    light = opened.probe("colours")
    opened.page.emulate_media(color_scheme="dark")
    opened.page.wait_for_function(f"() => ({PROBES}).colours().label !== {json.dumps(light['label'])}")
    dark = opened.probe("colours")
    assert [name for name in light if light[name] == dark[name]] == []


def test_all_text_can_be_read(opened):
    opened.page.locator("details").evaluate_all("(all) => all.forEach((one) => { one.open = true; })")
    assert opened.check_can_be_read() > 800


def test_structure_for_assistive_technology(opened):
    opened.check_structure()


def test_hostile_names_neither_run_nor_ask_nor_spread(context, manifest, tmp_path):
    evil = (
        "<img src=x onerror=alert(1)></script><script>alert(2)</script><a href='https://evil.example/'>"
        + "W" * 300
    )
    for artifact in [*manifest.artifacts, *manifest.rejected]:
        artifact.target = artifact.precision = evil
        artifact.files = artifact.notes = [evil]
        for reason in artifact.placement.reasons:
            reason.node = reason.op = reason.reason = reason.cure = evil
        for operator in artifact.profile.operators:
            operator.op = evil
    # Short enough for plotly to show it whole, with markup that plotly would read.
    manifest.artifacts[0].target = manifest.artifacts[2].precision = "<a href='https://evil.example'>x</a>"
    manifest.artifacts[0].latency.note = evil
    manifest.bundle = manifest.command = manifest.environment.cpu_model = manifest.source.location = evil
    manifest.warnings = [evil]
    view = visit(context, manifest, tmp_path)
    view.page.locator('[data-figure="latency-measured"] .bars .point path').first.hover(force=True)
    view.page.locator(".hoverlayer .hovertext").first.wait_for()
    labels = view.page.locator(".plot .annotation-text").all_text_contents()
    assert any("<a href='https://evil.example'>x</a>" in label for label in labels), labels
    view.check_names_stayed_names()
    assert view.probe("clashes") == []
    view.close()


def test_an_empty_run_is_a_page_too_and_its_policy_holds(context, bare, tmp_path):
    view = visit(context, bare, tmp_path)
    view.check_fits(PHONE)
    assert "This run had no target" in view.page.inner_text("main")
    assert view.said == []
    assert view.probe("intrude") == {"ran": False, "seen": ["connect-src", "img-src", "script-src-elem"]}
    view.page.close()
