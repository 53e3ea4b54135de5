"""profile.json and profile.html: a device's figures, and each measurement over its time."""

from __future__ import annotations

import html as markup
import json
from pathlib import Path
from typing import Any

from edgepack.toolchain import files
from edgepack.toolchain.devices import shown
from edgepack.toolchain.devices.results import DeviceProfile, Measured
from edgepack.toolchain.report import bars, text
from edgepack.toolchain.report.bars import Bar, Figure
from edgepack.toolchain.report.cells import Table
from edgepack.toolchain.report.document import rendered
from edgepack.toolchain.report.machine import finite

JSON_FILE, PAGE_FILE = "profile.json", "profile.html"
TEMPLATE = Path(__file__).parent / "templates" / "profile.html"
_FEWEST_WINDOWS = 5
_HEIGHT = 340


def write(profile: DeviceProfile, folder: Path) -> None:
    """Write both files.

    Raises:
        UsageError: The folder cannot be written.
    """
    with files.storage_errors("The profile cannot be written", folder, "Choose another folder with --out"):
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / JSON_FILE, machine(profile))
        (folder / PAGE_FILE).write_bytes(html(text.cleaned(profile)))


def machine(profile: DeviceProfile) -> str:
    """The text of profile.json, in one line: ASCII, null for what is no finite number."""
    return json.dumps(finite(profile.model_dump()), allow_nan=False) + "\n"


def html(profile: DeviceProfile) -> bytes:
    """The page in UTF-8; `profile` must have gone through `text.cleaned`."""
    timed = [(target, one) for target in profile.targets for one in target.measured]
    rows = [
        _bar(f"{shown.label(t, one)}, {shown.where(one)}", one) for t, one in timed if one.latency is not None
    ]
    latency = bars.figure(
        "latency",
        "Latency",
        "Median of a call, with its 95 % interval",
        rows,
        "milliseconds",
        kind="measured",
    )
    over_time = [
        _over_time(f"time-{index}", f"{shown.label(target, one)}, {shown.where(one)}", one)
        for index, (target, one) in enumerate(timed)
        if len(one.windows) >= _FEWEST_WINDOWS
    ]
    view = {
        "profile": profile,
        "sentences": shown.sentences(profile),
        "conditions": shown.conditions(profile),
        "tables": _tables(profile),
        "latency": latency if rows else None,
        "over_time": over_time,
    }
    return rendered(TEMPLATE, view, [*([latency] if rows else []), *over_time])


def _tables(profile: DeviceProfile) -> list[Table]:
    """Those that say something of the device: of an emulated one nothing was timed."""
    timed = [] if profile.device.emulated else [shown.figures(profile), shown.parts(profile)]
    others = [one for one in (shown.by_tools(profile), shown.counts(profile)) if one.rows]
    return [*timed, *others, shown.checked(profile)]


def _bar(label: str, one: Measured) -> Bar:
    latency = one.latency
    assert latency is not None  # noqa: S101 - asked by the caller
    said = text.milliseconds(latency.p50_ms)
    return Bar(
        label,
        latency.p50_ms,
        said,
        markup.escape(f"{label}: {said}"),
        low=latency.ci_low_ms,
        high=latency.ci_high_ms,
    )


def _over_time(id_: str, title: str, one: Measured) -> Figure:
    """Median and 90th percentile of every second, with the slowest clock and the hottest sensor beside them."""
    seconds = [window.s for window in one.windows]
    data = [
        _line("median", seconds, [window.p50_ms for window in one.windows], "--ship", "solid"),
        _line("p90", seconds, [window.p90_ms for window in one.windows], "--considered", "dot"),
    ]
    layout: dict[str, Any] = {
        "height": _HEIGHT,
        "margin": {"l": 60, "r": 60, "t": 16, "b": 50},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {"title": {"text": "seconds"}},
        "yaxis": {"title": {"text": "milliseconds"}, "rangemode": "tozero"},
    }
    aside, values = _aside(one)
    caption = "A second each; the device tells neither heat nor clock"
    if values:
        caption = "A second each"
        data.append(_line(aside, seconds, values, "--rejected", "dash") | {"yaxis": "y2"})
        layout["yaxis2"] = {
            "title": {"text": aside}, "overlaying": "y", "side": "right", "rangemode": "tozero", "showgrid": False,
        }  # fmt: skip
    medians = [window.p50_ms for window in one.windows]
    described = (
        f"{title}: medians from {text.milliseconds(min(medians))} to {text.milliseconds(max(medians))} "
        f"over {seconds[-1]:.0f} s"
    )
    return Figure(id_, title, caption, described, {"data": data, "layout": layout})


def _aside(one: Measured) -> tuple[str, list[float | None]]:
    """What explains a change of times best of what the device tells: its heat, else its slowest clock, else nothing."""
    heat = [max(window.reading.temperature_c.values(), default=None) for window in one.windows]
    if any(heat):
        return "hottest sensor, °C", heat
    clocks = [min(window.reading.clock_khz.values(), default=None) for window in one.windows]
    if any(clocks):
        return "slowest clock, GHz", [None if clock is None else clock / 1e6 for clock in clocks]
    return "", []


def _line(name: str, x: list[float], y: list[Any], color: str, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": {"color": color, "dash": dash},
    }  # fmt: skip
