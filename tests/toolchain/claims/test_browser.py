"""A claim's page in a headless Chromium: it draws, stays quiet, fits a phone, and can be read."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from edgepack.runtime import environment
from edgepack.toolchain.claims import page
from edgepack.toolchain.claims.base import claims
from edgepack.toolchain.claims.results import ClaimResults, Point, Value
from tests.toolchain.browsing import PHONE, SMALL_PHONE, WIDE, Visit

pytestmark = pytest.mark.system("chromium")

CLAIM = claims.get("return-of-the-encoder")
LENGTHS = (128, 512, 2048)
LINES = """() => Object.fromEntries([...document.querySelectorAll(".plot")].map((plot) => [plot.dataset.figure, [
  plot.querySelectorAll(".lines path.js-line").length, plot.querySelectorAll(".points path.point").length,
  plot.querySelectorAll(".errorbar path").length, plot.querySelectorAll(".legend .traces").length]]))"""
COLOURS = """() => ({
  page: getComputedStyle(document.body).backgroundColor,
  plot: getComputedStyle(document.querySelector(".plot .main-svg")).backgroundColor,
  tick: getComputedStyle(document.querySelector(".plot .xtick text")).fill,
})"""
# Titles and labels that run into one another, or out of their plot.
CLASHES = """() => [...document.querySelectorAll(".plot")].flatMap((plot) => {
  const frame = plot.getBoundingClientRect();
  const texts = [...plot.querySelectorAll(".legendtext, .xtitle, .ytitle, .xtick text, .ytick text")];
  const boxes = texts.map((e) => [e.textContent, e.getBoundingClientRect()]);
  return boxes.flatMap(([text, a], i) => [
    ...(a.left < frame.left - 1 || a.right > frame.right + 1 || a.bottom > frame.bottom + 1 ? [text] : []),
    ...boxes.slice(i + 1).filter(([, b]) => a.left < b.right - 1 && b.left < a.right - 1
      && a.top < b.bottom - 2 && b.top < a.bottom - 2).map(([other]) => `${text} / ${other}`)]);
})"""


def results(sizes=("30m", "120m")):
    """Two sizes, three lengths, latency and throughput for two lengths of output."""
    points = []
    for factor, size in enumerate(sizes, 1):
        for n in LENGTHS:
            ratio = 1 + math.log(n / 64) / 4
            values = [value("first-token latency", "ms", ratio, n * 0.2 * factor)]
            values += [
                value("throughput", "tokens/s", ratio + o / 64, 300 / factor, output=o) for o in (16, 64)
            ]
            at = {"size": size, "input": n, "precision": "fp32", "threads": 1}
            points.append(Point(at=at, values=values, load_average=1, seconds=1, measured_on="2026-01-02"))
    return ClaimResults(
        claim=CLAIM.name,
        command="edgepack claims return-of-the-encoder",
        sides=["encoder-decoder", "decoder-only"],
        points=points,
        environment=environment.capture(1, spinning=False),
    )


def value(name, unit, ratio, figure, **at):
    medians = {"encoder-decoder": figure, "decoder-only": figure * ratio}
    better = "lower" if unit == "ms" else "higher"
    ends = {"ci_low": ratio * 0.9, "ci_high": ratio * 1.1}
    return Value(name=name, unit=unit, better=better, at=at, medians=medians, ratio=ratio, rounds=7, **ends)


def visit(context: BrowserContext, shown: ClaimResults, folder: Path) -> Visit:
    file = folder / "claim.html"
    file.write_bytes(page.html(CLAIM, shown))
    return Visit(context, file)


@pytest.fixture(scope="module")
def once(context: BrowserContext, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    return visit(context, results(), tmp_path_factory.mktemp("claim"))


def test_every_plot_has_its_lines_points_whiskers_and_legend(opened):
    assert opened.page.evaluate(LINES) == {
        "ratio-0": [3, 6, 6, 3],
        "sides-0": [4, 12, 0, 4],
        "ratio-1": [5, 12, 12, 5],
        "sides-1": [8, 24, 0, 8],
    }


@pytest.mark.parametrize("size", [PHONE, SMALL_PHONE, WIDE], ids=["phone", "small phone", "desk"])
def test_fits(opened, size):
    opened.check_fits(size)
    assert opened.page.evaluate(CLASHES) == []
    if size is not WIDE:
        assert opened.probe("scrollable", "numbers") > 0, "a table scrolls inside its box"


def test_dark_mode_changes_page_and_plots_at_once(opened):
    light = opened.page.evaluate(COLOURS)
    opened.page.emulate_media(color_scheme="dark")
    opened.page.wait_for_function(f"() => ({COLOURS})().tick !== {json.dumps(light['tick'])}")
    dark = opened.page.evaluate(COLOURS)
    assert [name for name in light if light[name] == dark[name]] == []


def test_all_text_can_be_read(opened):
    assert opened.check_can_be_read() > 200


def test_structure_for_assistive_technology(opened):
    opened.check_structure()


def test_hostile_names_neither_run_nor_ask_nor_spread(context, tmp_path):
    evil = (
        "<img src=x onerror=alert(1)></script><script>alert(2)</script><a href='https://evil.example/'>"
        + "W" * 300
    )
    short = "<a href='https://evil.example'>x</a>"
    shown = results((evil, short))
    shown.command, shown.facts, shown.notes = evil, {evil: evil}, [evil]
    shown.environment.cpu_model = evil
    view = visit(context, shown, tmp_path)
    labels = view.page.locator(".plot .legendtext").all_text_contents()
    assert any(short in label for label in labels), labels
    view.check_names_stayed_names()
    view.close()


def test_without_results_it_is_a_page_too_and_its_policy_holds(context, tmp_path):
    view = visit(context, results(()), tmp_path)
    view.check_fits(PHONE)
    assert view.page.locator(".plot").count() == 0
    assert view.said == []
    assert view.probe("intrude") == {"ran": False, "seen": ["connect-src", "img-src", "script-src-elem"]}
    view.page.close()
