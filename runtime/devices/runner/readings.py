"""What a device's files say of itself: clocks, temperatures, power, and which cores are of one kind.

Everything is read below a root folder, so that a tree of files stands for a device in tests. What a device
does not tell is left out; nothing is made up. Units are the kernel's: kHz, and for power supplies microampere
and microvolt (Documentation/ABI/testing/sysfs-class-power); some vendors' kernels give others, and the sign of
a current means charging for some and discharging for others.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_HOTTEST_C = 150.0  # sensors that are switched off report nonsense
_SUPPLY = ("type", "status", "online", "present", "capacity", "current_now", "voltage_now", "power_now")
_CPU = "sys/devices/system/cpu"


def clusters(root: Path = Path("/")) -> list[dict[str, Any]]:
    """Cores of one kind together, slowest first: {"cpus": [...], "max_khz": int or None}.

    A kind is a highest clock (cpuinfo_max_freq) and, where the kernel states one, a capacity (cpu_capacity).
    """
    kinds: dict[tuple[int, int], list[int]] = {}
    for cpu in cores(root):
        place = root / _CPU / f"cpu{cpu}"
        kind = (_number(place / "cpu_capacity") or 0, _number(place / "cpufreq/cpuinfo_max_freq") or 0)
        kinds.setdefault(kind, []).append(cpu)
    return [{"cpus": cpus, "max_khz": kind[1] or None} for kind, cpus in sorted(kinds.items())]


def cores(root: Path = Path("/")) -> list[int]:
    """Numbers of the cores that this process may use, of those in the tree."""
    found = sorted(
        int(place.name[3:]) for place in (root / _CPU).glob("cpu[0-9]*") if place.name[3:].isdigit()
    )
    if root != Path("/") or not hasattr(os, "sched_getaffinity"):
        return found
    allowed = os.sched_getaffinity(0)
    return [cpu for cpu in found if cpu in allowed] or sorted(allowed)


def reading(root: Path = Path("/")) -> dict[str, Any]:
    """Everything that changes, now.

    Returns:
        clock_khz, cap_khz: By core, the present clock and the highest that the system allows at present.
        governor: By core.
        temperature_c: By sensor ("thermal_zone0 cpu-thermal"), degrees Celsius.
        throttled: By source, how often or how far the processor was slowed down for its heat.
        power: By supply, what its files hold.
    """
    cpus = cores(root)
    return {
        "clock_khz": _by_core(root, cpus, "cpufreq/scaling_cur_freq"),
        "cap_khz": _by_core(root, cpus, "cpufreq/scaling_max_freq"),
        "governor": {
            str(cpu): text
            for cpu in cpus
            if (text := _text(root / _CPU / f"cpu{cpu}/cpufreq/scaling_governor"))
        },
        "temperature_c": _temperatures(root),
        "throttled": _throttled(root, cpus),
        "power": _supplies(root),
    }


def _by_core(root: Path, cpus: list[int], name: str) -> dict[str, int]:
    values = {str(cpu): _number(root / _CPU / f"cpu{cpu}" / name) for cpu in cpus}
    return {cpu: value for cpu, value in values.items() if value}


def _temperatures(root: Path) -> dict[str, float]:
    found = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        milli = _number(zone / "temp")
        if milli is not None and 0 < milli < _HOTTEST_C * 1000:
            found[f"{zone.name} {_text(zone / 'type') or ''}".strip()] = milli / 1000
    return found


def _throttled(root: Path, cpus: list[int]) -> dict[str, int]:
    """x86's counters of throttling, and the state of cooling by slower clocks (0 is none)."""
    found = {}
    for cpu in cpus:
        count = _number(root / _CPU / f"cpu{cpu}/thermal_throttle/core_throttle_count")
        if count is not None:
            found[f"cpu{cpu}"] = count
    for device in sorted((root / "sys/class/thermal").glob("cooling_device*")):
        kind = (_text(device / "type") or "").lower()
        state = _number(device / "cur_state")
        if state is not None and "cpufreq" in kind:
            found[f"{device.name} {kind}"] = state
    return found


def _supplies(root: Path) -> dict[str, dict[str, str]]:
    found = {}
    for supply in sorted((root / "sys/class/power_supply").glob("*")):
        facts = {name: text for name in _SUPPLY if (text := _text(supply / name))}
        if facts:
            found[supply.name] = facts
    return found


def _number(file: Path) -> int | None:
    try:
        return int(_text(file) or "")
    except ValueError:
        return None


def _text(file: Path) -> str | None:
    """What a file says, or None: reading a sensor may fail in ways of its own."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return None
