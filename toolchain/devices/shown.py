"""A device's profile in tables and sentences, for the page and the terminal alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgepack.runtime.devices.runner import loadgen
from edgepack.toolchain.devices import android, emulated
from edgepack.toolchain.devices.counted import NAMES
from edgepack.toolchain.devices.results import (
    NO_PYTHON,
    Cluster,
    DeviceProfile,
    Measured,
    Reading,
    Scenario,
    TargetProfile,
)
from edgepack.toolchain.report import cells, text
from edgepack.toolchain.report.cells import Cell, Table, table

if TYPE_CHECKING:
    from rich.console import RenderableType

PLANS = {
    "as-is": "the system's choice",
    "one-big": "one big core",
    "all-big": "all big cores",
    "little": "little cores",
    "all": "all cores",
}
_SLOWER = 1.05
"""Above this the end of a sustained run counts as slower: warm-up's own bound for times that have settled."""
_RUNTIMES = ("onnxruntime", "ai-edge-litert", "numpy")
_NARROW = (0, 1, 2, 3, 8)
"""Columns of _HEAD that a terminal has room for."""
_HEAD = ("What", "Where", "#Median", "#p90", "#p99", "#Calls/s", "#First run", "#Load", "#Peak memory")


def label(target: TargetProfile, one: Measured) -> str:
    """What was measured, in a few words."""
    precision = target.precisions.get(one.unit)
    return " ".join(filter(None, (target.target, precision, "" if one.unit == "main" else one.unit)))


def where(one: Measured) -> str:
    """On which cores, and with how many threads."""
    threads = "" if one.threads is None else f", {text.plural(one.threads, 'thread')}"
    return f"{PLANS[one.plan]}{threads}"


def figures(profile: DeviceProfile) -> Table:
    """Every measurement."""
    rows = [_row(target, one) for target in profile.targets for one in target.measured if one.tool is None]
    return table("measured", "Measured on the device", _HEAD, rows)


def _row(target: TargetProfile, one: Measured) -> list[Cell]:
    latency, memory = one.latency, one.memory
    place = Cell(where(one), detail=f"cores {','.join(map(str, one.cpus))}" if one.cpus else "")
    if latency is None:
        why = one.skipped or ("emulated: no time, no memory" if one.emulated else "not measured")
        return [cells.name(label(target, one)), place, cells.missing(why), *([cells.missing()] * 6)]
    rate = None if one.calls_per_s is None else text.significant(one.calls_per_s)
    return [
        cells.name(label(target, one), "; ".join(one.notes)),
        place,
        cells.latency(latency),
        cells.time(latency.p90_ms),
        cells.time(latency.p99_ms),
        cells.number(one.calls_per_s, rate or ""),
        cells.time(latency.first_run_ms),
        cells.time(latency.load_ms),
        cells.size(
            memory.peak_bytes if memory else None,
            f"{text.size(memory.baseline_bytes)} before loading" if memory else "",
        ),
    ]


def counts(profile: DeviceProfile) -> Table:
    """Instructions of a call, where an emulator counted them."""
    rows = [
        [
            cells.name(label(target, one), "; ".join(one.notes)),
            *(cells.count(round(figure.value)) for figure in one.counted),
        ]
        for target in profile.targets
        for one in target.measured
        if one.counted
    ]
    head = ("What", *(f"#{name[0].upper()}{name[1:]}" for name in NAMES))
    return table("counted", "Instructions of one call, counted by the emulator", head, rows)


def parts(profile: DeviceProfile) -> Table:
    """The parts within calls in a row."""
    rows = [
        [
            cells.name(f"{target.target} {name}"),
            Cell(where(one)),
            cells.latency(latency),
            cells.time(latency.p90_ms),
            cells.count(latency.samples),
        ]
        for target in profile.targets
        for one in target.measured
        for name, latency in one.parts.items()
    ]
    return table(
        "parts",
        "Calls in a row, part by part, their states handed over",
        ("Part", "Where", "#Median", "#p90", "#Calls"),
        rows,
    )


def by_tools(profile: DeviceProfile) -> Table:
    """What the runtimes' own benchmark tools said."""
    rows = [
        [
            cells.name(label(target, one), "; ".join(one.notes)),
            Cell(one.tool.tool.name),
            cells.time(one.tool.mean_ms),
            cells.time(one.tool.median_ms),
            cells.time(one.tool.min_ms),
            cells.time(one.tool.max_ms),
            cells.count(one.tool.calls),
        ]
        for target in profile.targets
        for one in target.measured
        if one.tool is not None
    ]
    head = ("What", "Tool", "#Mean", "#Median", "#Fastest", "#Slowest", "#Calls")
    return table("tools", "Measured by the runtime's own tool", head, rows)


def checked(profile: DeviceProfile) -> Table:
    """What the outputs were checked on."""
    rows = [
        [cells.name(f"{target.target} {name}"), cells.parity(parity), cells.count(parity.inputs_tried)]
        for target in profile.targets
        for name, parity in target.parity.items()
    ]
    return table(
        "checked", "Outputs on the device against the references", ("What", "#Cosine", "#Calls"), rows
    )


def sentences(profile: DeviceProfile) -> list[str]:
    """What stands out."""
    found = emulated.sentences(profile)
    for target in profile.targets:
        for one in target.measured:
            if one.scenario is not None:
                found.append(f"{label(target, one)}, {where(one)}: {by_rules(one.scenario)}")
            if one.slowdown is not None:
                slower = one.slowdown > _SLOWER
                seconds = f"{one.windows[-1].s:.0f} s" if one.windows else "the run"
                found.append(
                    f"{label(target, one)}, {where(one)}: {text.ratio(one.slowdown)} the time at the end of "
                    f"{seconds}{', the device slows down' if slower else ', no slower than warm-up settles'}"
                )
            if one.energy is not None:
                found.append(
                    f"{label(target, one)}: {one.energy.watts:.2f} W, {1e3 * one.energy.joules_per_call:.3g} mJ a "
                    f"call ({one.energy.note})"
                )
    found += [f"{name} was left out: {why}" for name, why in profile.left_out.items()]
    if profile.links_lost:
        found.append(f"The link broke {text.plural(profile.links_lost, 'time')} and was taken up again")
    return [*found, *profile.notes]


def conditions(profile: DeviceProfile) -> list[str]:
    """The device, and how it was measured."""
    environment = profile.device.environment
    packages = ", ".join(
        f"{name} {environment.packages[name]}" for name in _RUNTIMES if name in environment.packages
    )
    asked = profile.settings
    first = next((one for target in profile.targets for one in target.measured if one.before), None)
    found = [
        f"{profile.device.address}: {environment.cpu_model}, {environment.os}",
        f"Cores: {'; '.join(map(_cluster, profile.device.clusters)) or 'not told'}",
        (
            f"edgepack's own runner with {packages}"
            if environment.python == NO_PYTHON
            else f"Python {environment.python} with {packages or 'nothing that it names'}"
        ),
    ]
    if profile.device.emulated:
        return [*found, emulated.condition(profile)]
    found.append(
        f"{_asked(asked)}: at least {asked['min_samples']} samples and {asked['min_seconds']:g} s each, "
        f"at most {asked['max_seconds']:g} s; warm-up until times settle"
    )
    if asked.get("scenario"):
        found.append(
            "A scenario of MLPerf's on one recorded input; what nobody has reviewed is no MLPerf result"
        )
    elif asked["preset"] == "single-stream":
        found.append("By MLPerf Mobile's rules for a single stream; not by its LoadGen, so no MLPerf result")
    if profile.android_before is not None and profile.android_after is not None:
        found += [
            f"Android before: {android.sentence(profile.android_before)}",
            f"Android after: {android.sentence(profile.android_after)}",
        ]
    if first is not None and first.before is not None and first.after is not None:
        found += [f"Before: {reading(first.before)}", f"After: {reading(first.after)}"]
    return found


def _asked(settings: Mapping[str, Any]) -> str:
    scenario = settings.get("scenario")
    return f"Scenario {scenario}" if scenario else f"Preset {settings['preset']}"


def by_rules(value: Scenario) -> str:
    """A scenario's figures in a sentence."""
    if value.samples_per_s is not None:
        figure = f"{text.significant(value.samples_per_s)} samples/s"
    else:
        bound = (
            "" if value.p90_bound_ms is None else f", at most {text.milliseconds(value.p90_bound_ms)} at 99 %"
        )
        p90 = "no figure" if value.p90_ms is None else text.milliseconds(value.p90_ms)
        figure = f"90th percentile {p90}{bound}"
    by = "MLPerf's LoadGen" if value.tool.name == loadgen.DISTRIBUTION else "edgepack by MLPerf's rules"
    said = f"{value.name} by {by} ({value.tool.version}), {text.plural(value.queries, 'sample')}: {figure}"
    return said if value.valid else f"{said}; it does not meet the rules: {', '.join(value.why)}"


def reading(value: Reading) -> str:
    """A reading in a line; what the device does not tell is named as such."""
    governors = ", ".join(sorted(set(value.governor.values()))) or "not told"
    clocks = sorted(value.clock_khz.values())
    clock = f"{clocks[0] / 1e6:.2f} to {clocks[-1] / 1e6:.2f} GHz" if clocks else "not told"
    heat = f"{max(value.temperature_c.values()):.0f} °C" if value.temperature_c else "not told"
    return f"governor {governors}; clocks {clock}; hottest sensor {heat}; {supply(value)}"


def supply(value: Reading) -> str:
    """Whether a battery or a cable feeds the device, by what its supplies say."""
    batteries = [facts for facts in value.power.values() if facts.get("type") == "Battery"]
    cables = [
        name
        for name, facts in sorted(value.power.items())
        if facts.get("type") != "Battery" and facts.get("online") == "1"
    ]
    said = ", ".join(sorted({one["status"] for one in batteries if "status" in one}))
    if cables:
        return f"on mains ({', '.join(cables)}){f', battery {said}' if said else ''}"
    return f"on battery ({said or 'its status is not told'})" if batteries else "no battery, power not told"


def _cluster(value: Cluster) -> str:
    clock = f" up to {value.max_khz / 1e6:.2f} GHz" if value.max_khz else ""
    return f"{text.plural(len(value.cpus), 'core')}{clock}"


def terminal(profile: DeviceProfile) -> RenderableType:
    """Tables and sentences; `profile` must have gone through `text.cleaned`."""
    from rich.console import Group
    from rich.table import Table as Drawn
    from rich.text import Text

    shown: list[RenderableType] = []
    for one, columns in (
        (checked(profile), (0, 1, 2)),
        *([] if profile.device.emulated else [(figures(profile), _NARROW)]),
        (by_tools(profile), range(7)),
        (parts(profile), range(5)),
        (counts(profile), range(4)),
    ):
        if not one.rows:
            continue
        drawn = Drawn(title=one.caption, title_justify="left")
        for index in columns:
            column = one.columns[index]
            narrow = column.numeric or index == 0
            drawn.add_column(column.title, justify="right" if column.numeric else "left", no_wrap=narrow)
        for row in one.rows:
            drawn.add_row(*(Text(row[index].text) for index in columns))
        shown.append(drawn)
    skipped = {
        f"Nothing was counted: {one.skipped}"
        if one.emulated
        else f"Not measured on {where(one)}: {one.skipped}"
        for target in profile.targets
        for one in target.measured
        if one.skipped
    }
    shown += [Text(line) for line in sorted(skipped)]
    lines = [Text(line) for line in sentences(profile)]
    return Group(*shown, *lines, *(Text(line, style="dim") for line in conditions(profile)))
