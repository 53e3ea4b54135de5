"""The /proc and /sys of an emulated board: one core, and what it is; no clock, heat or power, which it has not.

QEMU's user mode shows a program the host's files unless there are others below its prefix. A library that
asks for the kind and caches of the processor (cpuinfo, in ONNX Runtime) must not meet those of an x86 host.
"""

from __future__ import annotations

from pathlib import Path

from edgepack.runtime.devices.board.emulator import Processor

_CPU = "sys/devices/system/cpu"
_MIDR_IMPLEMENTER = 0x41  # Arm Limited


def write(root: Path, processor: Processor, version: str) -> None:
    """Write the files below `root`.

    Args:
        root: The emulator's prefix.
        processor: Which one is emulated.
        version: QEMU's.
    """
    name = f"emulated by QEMU {version}"
    given = {
        "proc/cpuinfo": cpuinfo(processor),
        "proc/device-tree/model": name,
        "proc/sys/kernel/arch": "aarch64\n",
        **{f"{_CPU}/{file}": "0\n" for file in ("possible", "present", "online", "kernel_max")},
        f"{_CPU}/cpu0/topology/core_id": "0\n",
        f"{_CPU}/cpu0/topology/physical_package_id": "0\n",
        f"{_CPU}/cpu0/topology/core_siblings_list": "0\n",
    }
    if not (root / "etc/os-release").exists():
        given["etc/os-release"] = 'PRETTY_NAME="edgepack\'s emulated board"\n'
    for place, text in given.items():
        file = root / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def cpuinfo(processor: Processor) -> str:
    """The text of /proc/cpuinfo as Linux writes it for 64-bit ARM."""
    return (
        "processor\t: 0\n"
        f"Features\t: {' '.join(processor.features)}\n"
        f"CPU implementer\t: {_MIDR_IMPLEMENTER:#x}\n"
        "CPU architecture: 8\n"
        "CPU variant\t: 0x0\n"
        f"CPU part\t: {processor.part:#x}\n"
        "CPU revision\t: 0\n"
    )
