"""What Android's services say of heat and power: its /sys is mostly closed to a shell without root."""

from __future__ import annotations

from edgepack.runtime.devices.device import Device
from edgepack.toolchain.devices.results import AndroidState

STATUSES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""android.os.PowerManager, THERMAL_STATUS_NONE to THERMAL_STATUS_SHUTDOWN."""


def state(device: Device) -> AndroidState | None:
    """Now; None where it is no Android.

    Raises:
        DeviceError: The device gives no answer.
    """
    if "dumpsys" not in device.tools:
        return None
    return read(device.transport.run("android").stdout)


def read(said: str) -> AndroidState:
    """Read what android.sh printed; what is no number is left out."""
    pairs = [line.partition(" ")[::2] for line in said.splitlines()]
    numbers = {key: int(value) for key, value in pairs if value.strip().lstrip("-").isdecimal()}
    tenths, millivolt, level = (numbers.get(name) for name in ("temperature", "voltage", "level"))
    thermal = numbers.get("thermal", -1)
    return AndroidState(
        thermal_status=STATUSES[thermal] if 0 <= thermal < len(STATUSES) else None,
        powered_by=[value for key, value in pairs if key == "powered"],
        battery_percent=level,
        battery_c=None if tenths is None else tenths / 10,
        battery_v=None if millivolt is None else millivolt / 1e3,
    )


def sentence(value: AndroidState) -> str:
    """In a line."""
    power = f"powered by {' and '.join(value.powered_by)}" if value.powered_by else "on battery"
    charge = "" if value.battery_percent is None else f" ({value.battery_percent} %)"
    heat = "" if value.battery_c is None else f", battery {value.battery_c:.0f} °C"
    return f"thermal status {value.thermal_status or 'not told'}; {power}{charge}{heat}"
