"""Trees of files that stand for devices: what /proc and /sys of a phone say."""

from __future__ import annotations

from pathlib import Path

BIG_LITTLE = ((0, 1_800_000, 400), (1, 1_800_000, 400), (2, 2_400_000, 870), (3, 2_900_000, 1024))
"""Core, highest clock in kHz, capacity: two little, one middle, one big."""


def phone(root: Path) -> Path:
    """A phone with three kinds of cores, five sensors and a battery."""
    for cpu, khz, capacity in BIG_LITTLE:
        put(root, f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity", capacity)
        for name, value in (
            ("cpuinfo_max_freq", khz),
            ("scaling_max_freq", khz - 100_000),
            ("scaling_cur_freq", khz // 2),
            ("scaling_governor", "schedutil"),
        ):
            put(root, f"sys/devices/system/cpu/cpu{cpu}/cpufreq/{name}", value)
    sensors = (("cpu-0-0", 41_500), ("gpu", 38_000), ("modem", 0), ("broken", 999_999), ("cold", -40_000))
    for zone, (kind, milli) in enumerate(sensors):
        put(root, f"sys/class/thermal/thermal_zone{zone}/type", kind)
        put(root, f"sys/class/thermal/thermal_zone{zone}/temp", milli)
    put(root, "sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0")
    put(root, "sys/class/thermal/cooling_device0/cur_state", 2)
    put(root, "sys/class/thermal/cooling_device1/type", "gpu")
    put(root, "sys/class/thermal/cooling_device1/cur_state", 5)
    battery("Discharging", -250_000, root)
    put(root, "sys/class/power_supply/usb/type", "USB")
    put(root, "sys/class/power_supply/usb/online", 0)
    put(
        root,
        "proc/cpuinfo",
        "".join(f"processor\t: {n}\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n" for n in range(4)),
    )
    put(root, "proc/meminfo", "MemTotal:        5820000 kB")
    return root


def battery(status: str, microampere: int, root: Path) -> None:
    facts = {
        "type": "Battery",
        "status": status,
        "current_now": microampere,
        "voltage_now": 4_000_000,
        "capacity": 71,
    }
    for name, value in facts.items():
        put(root, f"sys/class/power_supply/battery/{name}", value)


def put(root: Path, name: str, value: object) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f"{value}\n")
