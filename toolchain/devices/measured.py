"""From the device's raw samples to figures, by the same statistics as on the host."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from edgepack.runtime._timing_steps import WarmUp, summarize
from edgepack.runtime.statistics import P90_SAMPLES, median, quantile
from edgepack.toolchain.devices.results import DeviceMemory, Energy, Measured, Reading, Window
from edgepack.toolchain.devices.scenarios import judged
from edgepack.toolchain.devices.settings import Settings
from edgepack.toolchain.errors import DeviceError
from edgepack.toolchain.results import Latency

_ENOUGH_WINDOWS = 20
_WATTS = (0.05, 100.0)  # what a device with a battery may take; beyond, the unit is not the kernel's
_CAVEAT = (
    "current times voltage of the battery, the whole device with its screen; the unit is the kernel's "
    "(microampere, microvolt), which some vendors do not keep to"
)


def measured(
    entry: Mapping[str, Any], unit: Mapping[str, Any], samples: Path | None, settings: Settings
) -> Measured:
    """One of the runner's measurements.

    Args:
        entry: What the runner says of it.
        unit: What was asked for.
        samples: The fetched file, checked by its hash; None for what was skipped.
        settings: What was asked for.

    Raises:
        DeviceError: Samples and words do not agree.
    """
    base = {"unit": unit["name"], "plan": entry["plan"]}
    if entry.get("skipped") or samples is None:
        return Measured(**base, skipped=str(entry.get("skipped") or "no samples came"))
    steps = int(entry["samples"]["steps"])
    times = array("d")
    times.frombytes(samples.read_bytes())
    done = int(entry["windows"][-1]["done"]) if entry["windows"] else 0
    if steps != len(unit["calls"]) or len(times) != steps * done or not times or min(times) < 0:
        raise DeviceError(f"The device's samples of {unit['name']} are not what it says of them")
    totals = [sum(times[start : start + steps]) for start in range(0, len(times), steps)]
    warm = WarmUp(**entry["warm_up"])
    notes = _notes(totals, entry, settings)

    def latency(values: Sequence[float], load_ms: float | None = None, shapes: Any = None) -> Latency:
        return summarize(
            values, warm, threads=entry["threads"], shapes=shapes or {}, load_ms=load_ms, notes=notes
        )

    parts: dict[str, list[float]] = {}
    if unit["linked"]:
        for place, time in enumerate(times):
            parts.setdefault(unit["calls"][place % steps]["part"], []).append(time)
    windows = _windows(entry["windows"], totals)
    return Measured(
        **base,
        cpus=entry["cpus"],
        threads=entry["threads"],
        latency=latency(totals, entry["load_ms"], unit.get("shapes")),
        # The warm-up's first call is the repetition's, not a part's.
        parts={
            name: latency(values).model_copy(update={"first_run_ms": None}) for name, values in parts.items()
        },
        calls_per_s=1e3 * len(totals) / sum(totals) if sum(totals) > 0 else None,
        memory=DeviceMemory(**entry["memory"]),
        scenario=judged(settings, totals, windows[-1].s, entry.get("loadgen"), metadata.version("edgepack")),
        slowdown=_slowdown(windows),
        energy=_energy(windows, totals),
        windows=windows,
        before=Reading(**entry["before"]),
        after=Reading(**entry["after"]),
        notes=notes,
    )


def _notes(totals: Sequence[float], entry: Mapping[str, Any], settings: Settings) -> list[str]:
    notes = []
    seconds = float(entry["windows"][-1]["s"])
    if len(totals) < settings.min_samples or seconds < settings.min_seconds:
        notes.append(
            f"stopped at the limit of {settings.max_seconds:g} s with {len(totals)} of {settings.min_samples} samples"
        )
    throttled = [
        name
        for name, value in entry["after"]["throttled"].items()
        if value > entry["before"]["throttled"].get(name, 0)
    ]
    if throttled:
        notes.append(f"the device slowed its processor down for heat: {', '.join(throttled[:4])}")
    return notes


def _windows(raw: Sequence[Mapping[str, Any]], totals: Sequence[float]) -> list[Window]:
    found, begin = [], 0
    for entry in raw:
        facts = {key: value for key, value in entry.items() if key not in {"s", "done"}}
        values = totals[begin : entry["done"]]
        if not values:
            raise DeviceError("The device's windows are not in order")
        found.append(
            Window(
                s=entry["s"],
                samples=len(values),
                p50_ms=median(values),
                p90_ms=quantile(values, 0.9) if len(values) >= P90_SAMPLES else None,
                reading=Reading(**facts),
            )
        )
        begin = entry["done"]
    return found


def _slowdown(windows: Sequence[Window]) -> float | None:
    """How much slower the end is than the beginning: medians of a tenth of the windows each."""
    if len(windows) < _ENOUGH_WINDOWS:
        return None
    tenth = len(windows) // 10
    first = median([window.p50_ms for window in windows[:tenth]])
    return median([window.p50_ms for window in windows[-tenth:]]) / first if first > 0 else None


def _energy(windows: Sequence[Window], totals: Sequence[float]) -> Energy | None:
    """Mean power of a battery that was discharging at every reading; nothing at a charger's cable."""
    watts = []
    for window in windows:
        supplies = window.reading.power.values()
        if any(s.get("type") != "Battery" and s.get("online") == "1" for s in supplies):
            return None
        draining = [s for s in supplies if s.get("type") == "Battery" and s.get("status") == "Discharging"]
        try:
            watts.append(sum(abs(int(s["current_now"])) * int(s["voltage_now"]) for s in draining) / 1e12)
        except (KeyError, ValueError):
            return None
    if not watts or not all(_WATTS[0] <= value <= _WATTS[1] for value in watts):
        return None
    mean = sum(watts) / len(watts)
    return Energy(watts=mean, joules_per_call=mean * sum(totals) / len(totals) / 1e3, note=_CAVEAT)
