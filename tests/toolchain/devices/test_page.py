"""A device's page in a headless Chromium: it draws, stays quiet, fits a phone, and hostile names stay names."""

from __future__ import annotations

from array import array

import pytest
from playwright.sync_api import BrowserContext

from edgepack.runtime import environment
from edgepack.toolchain.devices import page, settings
from edgepack.toolchain.devices.measured import measured
from edgepack.toolchain.devices.results import Cluster, DeviceFacts, DeviceProfile, TargetProfile
from edgepack.toolchain.report.text import cleaned
from edgepack.toolchain.results import Parity
from tests.toolchain.browsing import Visit
from tests.toolchain.devices.test_measured import ALONE, QUIET, entry

pytestmark = pytest.mark.system("chromium")

EVIL = (
    "<img src=x onerror=alert(1)></script><script>alert(2)</script><a href='https://evil.example/'>"
    + "W" * 200
)


def profile(folder, name="cpu:onnxruntime"):
    """A phone that gets hot, on two kinds of cores, and one kind that it lacks."""
    (folder / "samples").write_bytes(array("d", [1.0] * 300 + [1.4] * 300).tobytes())
    raw = entry([1.0] * 600, windows=30)
    for index, window in enumerate(raw["windows"]):
        window["temperature_c"] = {"cpu": 35.0 + index}
        window["clock_khz"] = {"0": 1_800_000 - 20_000 * index}
    raw["before"] = QUIET | {"temperature_c": {"cpu": 35.0}, "governor": {"0": "schedutil"}}
    asked = settings.make(sweep=True)
    runs = [
        measured(raw, ALONE, folder / "samples", asked),
        measured(raw | {"plan": "one-big", "cpus": [3]}, ALONE, folder / "samples", asked),
        measured({"plan": "little", "skipped": "all alike"}, ALONE, None, asked),
    ]
    target = TargetProfile(
        target=name,
        precisions={"main": "int8-static"},
        size_bytes=10,
        sent_bytes=10,
        parity={"main": Parity(passed=True, cosine=0.9991, inputs_tried=4)},
        measured=runs,
    )
    device = DeviceFacts(
        address="adb://R58M",
        system="Linux",
        environment=environment.capture(1, spinning=False),
        clusters=[Cluster(cpus=[0, 1], max_khz=1_800_000), Cluster(cpus=[2, 3], max_khz=None)],
    )
    return DeviceProfile(
        edgepack="0", bundle="build", created="2026-01-02", command="edgepack profile build --device adb://R58M",
        settings=asked.as_json(), device=device, targets=[target], notes=["prepared: cpu0=schedutil"],
    )  # fmt: skip


def visit(context: BrowserContext, shown: DeviceProfile, folder) -> Visit:
    (folder / "profile.html").write_bytes(page.html(cleaned(shown)))
    return Visit(context, folder / "profile.html")


def test_it_draws_fits_and_can_be_read(context, tmp_path):
    view = visit(context, profile(tmp_path), tmp_path)
    figures = view.page.evaluate("() => [...document.querySelectorAll('.plot')].map((e) => e.dataset.figure)")
    assert figures == ["latency", "time-0", "time-1"]
    lines = "() => document.querySelectorAll('[data-figure=time-0] .lines path.js-line').length"
    assert view.page.evaluate(lines) == 3
    text = view.page.inner_text("main")
    assert "the device slows down" in text
    assert "all alike" in text
    assert "cpu0=schedutil" in text
    view.check_fits()
    view.check_can_be_read()
    view.check_structure()
    view.close()


def test_hostile_names_neither_run_nor_ask_nor_spread(context, tmp_path):
    shown = profile(tmp_path, name=EVIL)
    shown.bundle = shown.command = shown.device.address = shown.device.environment.cpu_model = EVIL
    shown.notes, shown.left_out = [EVIL], {EVIL: EVIL}
    view = visit(context, shown, tmp_path)
    view.check_names_stayed_names()
    view.close()


def test_without_measurements_it_is_a_page_too(context, tmp_path):
    shown = profile(tmp_path)
    shown.targets = []
    view = visit(context, shown, tmp_path)
    assert view.page.locator(".plot").count() == 0
    view.close()
