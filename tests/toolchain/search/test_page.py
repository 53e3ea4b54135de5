"""search.html in a headless Chromium: it draws, asks for nothing, fits a phone, and says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from edgepack.toolchain.results import Calibration, Environment, Parity
from edgepack.toolchain.search import page, words
from edgepack.toolchain.search.results import (
    Confirmed,
    GroupFacts,
    Measured,
    Point,
    Predicted,
    PredictorCheck,
    Predictors,
    SearchResults,
    SideResult,
)
from tests.toolchain.browsing import Visit

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def point(side: str, number: int, loss: float, latency: float, size: int, *, passed: bool = True) -> Point:
    measured = Measured(
        loss=loss, latency=latency, latency_low=latency * 0.97, latency_high=latency * 1.04, rounds=12,
        size_bytes=size, parity=Parity(passed=passed, cosine=1 - loss), seconds=3.0,
    )  # fmt: skip
    guess = Predicted(loss=loss * 1.2, latency=latency * 0.9, size_bytes=size) if side == "search" else None
    return Point(
        side=side,
        number=number,
        order=number,
        forms={EVIL: "int8-dynamic"},
        measured=measured,
        predicted=guess,
    )


@pytest.fixture
def results() -> SearchResults:
    points = [
        point("uniform", 0, 0.0, 1.0, 90_000_000),
        point("uniform", 1, 0.002, 0.4, 24_000_000),
        point("search", 2, 0.001, 0.38, 30_000_000),
        point("search", 3, 0.02, 0.35, 20_000_000, passed=False),
        point("random", 2, 0.004, 0.55, 22_000_000),
    ]
    sides = [
        SideResult(
            side=side, sampler="nsga2" if side == "search" else "random", trials=2, seconds=6.0,
            hypervolume=volume, convergence=[volume - 0.1, volume], front=[2],
        )
        for side, volume in (("search", 0.7), ("random", 0.75))
    ]  # fmt: skip
    return SearchResults(
        edgepack="0", model=EVIL, target="cpu:onnxruntime", part="main", command="edgepack search m",
        sampler="nsga2", trials=2, metric="cosine", gate={"cosine": 0.99},
        groups=[GroupFacts(name=EVIL, nodes=["a"], forms=["fp32", "int8-dynamic"])],
        points=points, sides=sides, reference=(0.02, 1.1, 1e8), better="random",
        predictors=Predictors(
            used=True, discard_rate=0.75, discarded=3,
            switched_off="after 10 checked predictions the rank correlation of the loss was 0.20, below 0.5",
            checks=[PredictorCheck(quantity="loss", pairs=12, spearman=0.2, relative_error=0.6)],
        ),
        front=["search 2", "uniform 1", "random 2", "uniform 0"],
        confirmed=[
            Confirmed(label="search 2", latency=0.39, latency_low=0.37, latency_high=0.4, rounds=20, verdict="faster")
        ],
        chosen="search 2", export_command="edgepack export m --precision mixed --assign s/chosen.json",
        fp32_bytes=90_000_000, seconds=20.0,
        calibration=Calibration(kind="user", description=EVIL, samples=4, held_out=4),
        environment=Environment(
            cpu_model="cpu", cpu_features=[], cores=2, threads=1, spinning=False, memory_bytes=1, os="os",
            python="3", packages={"onnxruntime": "1"},
        ),
        settings={},
    )  # fmt: skip


def test_words(results):
    chosen, race, predictors = words.sentences(results)
    assert "2.56x [2.50, 2.70] against fp32 (faster)" in chosen
    assert "hypervolume 0.7000 and 0.7500; the random search is ahead" in race
    assert "switched off: after 10 checked predictions" in predictors
    assert "rank correlation 0.20, mean relative error 60%" in predictors
    rows = list(words.front_rows(results))
    assert rows[0][0] == "search 2 (chosen)"
    assert rows[0][-1] == "2.92x"
    assert rows[1][-1] == "", "what was not predicted has no predicted speed"


def test_points_and_lines_are_drawn(results):
    pareto, convergence = (figure.spec for figure in page.figures(results))
    by_name = {trace["name"]: trace for trace in pareto["data"]}
    assert by_name["NSGA-II"]["x"] == [0.38, 0.35]
    assert by_name["NSGA-II"]["marker"]["symbol"] == ["circle", "circle-open"], "open: failed the gate"
    sizes = by_name["all layers alike"]["marker"]["size"]
    assert sizes[0] > sizes[1], "a larger marker is a larger file"
    assert by_name["front"]["x"] == sorted(by_name["front"]["x"])
    assert [trace["y"] for trace in convergence["data"]] == [side.convergence for side in results.sides]


@pytest.mark.system("chromium")
def test_in_a_browser(context: BrowserContext, results: SearchResults, tmp_path: Path):
    file = tmp_path / "search.html"
    file.write_bytes(page.html(results))
    view = Visit(context, file)
    assert view.page.locator('[data-figure="convergence"] .lines').count() > 0
    assert view.page.locator('[data-figure="pareto"] .points path.point').count() == 5
    assert view.page.locator("#front tbody tr").count() == 4
    assert "--assign s/chosen.json" in view.page.inner_text("main")
    view.check_names_stayed_names()
    view.check_fits()
    view.check_can_be_read()
    view.check_structure()
    view.close()
