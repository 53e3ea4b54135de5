"""A device's profile in tables and sentences, for the page and the terminal alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.devices.results import (
    NO_PYTHON,
    Cluster,
    DeviceProfile,
    Measured,
    Reading,
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
    rows = [_row(target, one) for target in profile.targets for one in target.measured]
    return table("measured", "Measured on the device", _HEAD, rows)


def _row(target: TargetProfile, one: Measured) -> list[Cell]:
    latency, memory = one.latency, one.memory
    place = Cell(where(one), detail=f"cores {','.join(map(str, one.cpus))}" if one.cpus else "")
    if latency is None:
        why = one.skipped or "not measured"
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
    found = []
    for target in profile.targets:
        for one in target.measured:
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
        (
            f"Preset {asked['preset']}: at least {asked['min_samples']} samples and {asked['min_seconds']:g} s each, "
            f"at most {asked['max_seconds']:g} s; warm-up until times settle"
        ),
    ]
    if asked["preset"] == "single-stream":
        found.append("By MLPerf Mobile's rules for a single stream; not by its LoadGen, so no MLPerf result")
    if first is not None and first.before is not None and first.after is not None:
        found += [f"Before: {reading(first.before)}", f"After: {reading(first.after)}"]
    return found


def reading(value: Reading) -> str:
    """A reading in a line; what the device does not tell is named as such."""
    governors = ", ".join(sorted(set(value.governor.values()))) or "not told"
    clocks = sorted(value.clock_khz.values())
    clock = f"{clocks[0] / 1e6:.2f} to {clocks[-1] / 1e6:.2f} GHz" if clocks else "not told"
    heat = f"{max(value.temperature_c.values()):.0f} °C" if value.temperature_c else "not told"
    status = {facts.get("status") for facts in value.power.values() if facts.get("type") == "Battery"}
    power = ", ".join(sorted(filter(None, status))) or "no battery"
    return f"governor {governors}; clocks {clock}; hottest sensor {heat}; {power}"


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
        (figures(profile), _NARROW),
        (parts(profile), range(5)),
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
        f"{where(one)}: {one.skipped}" for target in profile.targets for one in target.measured if one.skipped
    }
    shown += [Text(f"Not measured on {line}") for line in sorted(skipped)]
    lines = [Text(line) for line in sentences(profile)]
    return Group(*shown, *lines, *(Text(line, style="dim") for line in conditions(profile)))
