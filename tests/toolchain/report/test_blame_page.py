"""blame.html in a headless Chromium: plots, tables, the copied command, a phone, dark mode, hostile names."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from edgepack.toolchain.blame.results import Applied, Blame, KeepStep, LayerNoise
from edgepack.toolchain.report import blame as page
from edgepack.toolchain.report.text import cleaned
from edgepack.toolchain.results import ArtifactResult, Latency, Parity, Placement, Tool
from tests.toolchain.browsing import Visit

pytestmark = pytest.mark.system("chromium")


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


def visit(context: BrowserContext, blame: Blame, folder: Path) -> Visit:
    file = folder / "blame.html"
    file.write_bytes(page.html(cleaned(blame)))
    return Visit(context, file)


@pytest.fixture(scope="module")
def once(context: BrowserContext, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    return visit(context, found(), tmp_path_factory.mktemp("blame"))


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


def test_it_fits_and_can_be_read(opened):
    opened.check_fits()
    opened.check_structure()
    assert opened.check_can_be_read() > 100


def test_hostile_names_neither_run_nor_ask(context, tmp_path):
    evil = "<img src=x onerror=alert(1)></script><script>alert(2)</script>{}" + "W" * 300
    view = visit(context, found(evil), tmp_path)
    view.page.locator('[data-figure="noise"] .points path').first.hover(force=True)
    view.check_names_stayed_names()
    view.close()
