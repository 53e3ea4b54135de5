"""blame.html in a headless Chromium: plots, tables, the copied command, a phone, dark mode, hostile names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from edgepack.toolchain.blame.results import Applied, Blame, KeepStep, LayerNoise
from edgepack.toolchain.report import blame as page
from edgepack.toolchain.report.text import cleaned
from edgepack.toolchain.results import ArtifactResult, Latency, Parity, Placement, Tool

pytestmark = pytest.mark.system("chromium")

PROBES = (Path(__file__).parent / "probes.js").read_text(encoding="utf-8").partition("\n")[2]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def parity(cosine: float, *, passed: bool) -> Parity:
    failed = [] if passed else [f"y: mean cosine {cosine} is below 0.99"]
    return Parity(
        passed=passed,
        cosine=cosine,
        min_cosine=cosine - 0.1,
        inputs_tried=24,
        gate={"cosine": 0.99},
        failed=failed,
    )


def artifact(cosine: float, *, passed: bool) -> ArtifactResult:
    return ArtifactResult(
        target="cpu:onnxruntime", part="main", precision="int8-static", files=["main.onnx"], size_bytes=23 << 20,
        parity=parity(cosine, passed=passed), placement=Placement(accelerator=0, cpu=200), changed_nodes=160,
        latency=Latency(kind="measured", p50_ms=12.5, samples=100), tool=Tool(name="onnxruntime", version="1"),
    )  # fmt: skip


def found(name: str = "encoder.layer.{}.output") -> Blame:
    noisy = [9.7, None, 25.0, 40.0, 31.5, None]
    layers = [
        LayerNoise(
            node=name.format(i), op="LayerNormalization", tensors=[f"t{i}"], index=i, added_db=added,
            accumulated_db=None if i == 1 else 30.0 - 4 * i, cosine_alone=0.91 if i == 0 else None,
        )
        for i, added in enumerate(noisy)
    ]  # fmt: skip
    order = sorted((one for one in layers if one.added_db is not None), key=lambda one: one.added_db or 0)
    return Blame(
        bundle="build/minilm", target="cpu:onnxruntime", part="main", precision="int8-static",
        parity=parity(0.834, passed=False), inputs=16, data="held-out user data",
        added_by="running it on float inputs", layers=layers, order=[one.node for one in order],
        start=parity(0.834, passed=False), offered=2, confirmed=parity(0.9921, passed=True),
        steps=[
            KeepStep(kept=1, parity=parity(0.91, passed=False)), KeepStep(kept=2, parity=parity(0.992, passed=True))
        ],
        command=f"edgepack export m --keep {order[0].node} --keep {order[1].node}",
        applied=Applied(
            bundle="build/minilm-kept", kept=2, before=artifact(0.834, passed=False),
            after=artifact(0.9921, passed=True), passed=True,
        ),
    )  # fmt: skip


class Visit:
    """A page with everything that it said and asked for."""

    def __init__(self, context: BrowserContext, blame: Blame, folder: Path) -> None:
        file = folder / "blame.html"
        file.write_bytes(page.html(cleaned(blame)))
        self.url = file.as_uri()
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.set_viewport_size({"width": 1280, "height": 900})
        self.page.goto(self.url)
        self.page.locator(".plot .points path").first.wait_for()

    def probe(self, name: str, *arguments: str) -> object:
        return self.page.evaluate(f"({PROBES}).{name}({', '.join(map(json.dumps, arguments))})")


@pytest.fixture(scope="module")
def context(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=chromium, headless=True, args=ARGUMENTS,
            color_scheme="light",
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture
def opened(context, tmp_path):
    view = Visit(context, found(), tmp_path)
    yield view
    view.page.close()
    assert view.said == []
    assert view.requests == [view.url]


def test_the_plots_show_what_the_tables_say(opened):
    noise = opened.page.locator('[data-figure="noise"]')
    assert noise.locator(".points path").count() == 4  # layers that add noise
    assert noise.locator(".lines path").count() == 1
    assert opened.page.locator('[data-figure="kept"] .points path').count() == 3
    noisiest = [f"encoder.layer.{i}.output" for i in (0, 2, 4, 3)]
    assert opened.probe("column", "layers", "Layer")[:4] == noisiest
    assert opened.probe("column", "layers", "Added") == ["9.7 dB", "25.0 dB", "31.5 dB", "40.0 dB", "—", "—"]
    assert opened.probe("column", "steps", "Mean cosine") == ["0.8340", "0.9100", "0.9920", "0.9921"]
    assert opened.probe("column", "applied", "p50 latency") == ["12.5 ms", "12.5 ms"]
    assert "--keep encoder.layer.0.output" in opened.page.locator("#command").inner_text()


def test_layers_are_sorted_by_what_is_clicked(opened):
    head = opened.page.locator("#layers th", has_text="Accumulated")
    head.get_by_role("button").click()
    assert opened.probe("column", "layers", "Accumulated")[0] == "10.0 dB"
    assert opened.probe("column", "layers", "Accumulated")[-1] == "—"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(opened, scheme):
    opened.page.emulate_media(color_scheme=scheme)
    opened.page.set_viewport_size({"width": 360, "height": 740})
    opened.page.wait_for_function("() => document.querySelector('.plot .main-svg').clientWidth < 360")
    assert opened.probe("overflow") <= 0
    result = opened.probe("lowContrast")
    assert result["seen"] > 50
    assert result["bad"] == []


def test_hostile_names_neither_run_nor_ask(context, tmp_path):
    evil = "<img src=x onerror=alert(1)></script><script>alert(2)</script>{}" + "W" * 300
    view = Visit(context, found(evil), tmp_path)
    view.page.locator('[data-figure="noise"] .points path').first.hover(force=True)
    assert view.page.locator("img[src='x']").count() == 0
    assert view.probe("overflow") <= 0  # type: ignore[operator]
    view.page.close()
    assert view.said == []
    assert view.requests == [view.url]
