"""The file that the native runner reads; its form is described in `src/request.h`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_VERSION = 1
# What makes a device's figures: `runner/readings.py` and `environment.py` read these, below a root.
GLOBS = (
    "etc/os-release",
    "proc/cpuinfo",
    "proc/device-tree/model",
    "proc/loadavg",
    "proc/meminfo",
    "proc/sys/kernel/arch",
    "proc/sys/kernel/osrelease",
    "sys/fs/cgroup/cpu.max",
    "sys/devices/system/cpu/cpu[0-9]*",
    "sys/devices/system/cpu/cpu[0-9]*/cpu_capacity",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
)
CHANGING = (
    "sys/devices/system/cpu/cpu[0-9]*",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count",
    "sys/class/thermal/thermal_zone*/type",
    "sys/class/thermal/thermal_zone*/temp",
    "sys/class/thermal/cooling_device*/type",
    "sys/class/thermal/cooling_device*/cur_state",
    *(
        f"sys/class/power_supply/*/{name}"
        for name in (
            "type",
            "status",
            "online",
            "present",
            "capacity",
            "current_now",
            "voltage_now",
            "power_now",
        )
    ),
)


@dataclass(frozen=True)
class Part:
    """A part's file on the device, its inputs and outputs in order."""

    name: str
    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Unit:
    """Calls that belong together: each a part's name and those of its inputs that no earlier call hands on."""

    name: str
    linked: bool
    calls: tuple[tuple[str, dict[str, np.ndarray]], ...]


@dataclass(frozen=True)
class Plan:
    """On which cores; none for wherever the system puts it."""

    name: str
    cpus: tuple[int, ...]
    threads: int


@dataclass(frozen=True, eq=False)
class Request:
    """Everything that the runner is told.

    Attributes:
        library: ONNX Runtime's, a path on the device.
        kernels: The library of native operators, or empty.
        threads: Of the check.
        root: Where /proc and /sys are.
        globs: Files to read below it.
        parts: What can be called.
        links: (from part, output, to part, input) by name.
        units: What is checked or measured.
        plans: On which cores, for measurements.
        settings: Fewest samples; least, most, between readings and rest in seconds.
    """

    library: str
    kernels: str
    threads: int
    root: str
    globs: Sequence[str]
    parts: Sequence[Part]
    links: Sequence[tuple[str, str, str, str]]
    units: Sequence[Unit]
    plans: Sequence[Plan] = ()
    settings: tuple[int, float, float, float, float] = (1, 0.0, 0.0, 1.0, 0.0)

    def packed(self) -> bytes:
        """The file's content."""
        places = {part.name: place for place, part in enumerate(self.parts)}

        def link(names: tuple[str, str, str, str]) -> bytes:
            source, output, target, into = names
            numbers = (
                places[source],
                self.parts[places[source]].outputs.index(output),
                places[target],
                self.parts[places[target]].inputs.index(into),
            )
            return struct.pack("<4I", *numbers)

        def call(one: tuple[str, dict[str, Any]]) -> bytes:
            part = self.parts[places[one[0]]]
            given = sorted(one[1].items(), key=lambda item: part.inputs.index(item[0]))
            return _u32(places[part.name]) + _list(
                given, lambda item: _u32(part.inputs.index(item[0])) + _tensor(item[1])
            )

        # The runner puts a slash between root and pattern.
        return b"".join(
            (
                b"EDGEPACK" + _u32(_VERSION) + _text(self.library) + _text(self.kernels) + _u32(self.threads),
                _text(self.root.rstrip("/")) + _list(self.globs, _text),
                _list(self.parts, _part),
                _list(self.links, link),
                _list(
                    self.units, lambda one: _text(one.name) + _u32(int(one.linked)) + _list(one.calls, call)
                ),
                _list(self.plans, lambda one: _text(one.name) + _list(one.cpus, _u32) + _u32(one.threads)),
                struct.pack("<I4d", *self.settings),
            )
        )


def _part(part: Part) -> bytes:
    return _text(part.name) + _text(part.file) + _list(part.inputs, _text) + _list(part.outputs, _text)


def _tensor(value: np.ndarray) -> bytes:
    import numpy as np
    from onnx.helper import np_dtype_to_tensor_dtype

    kind = int(np_dtype_to_tensor_dtype(value.dtype))
    content = np.ascontiguousarray(value).tobytes()
    shape = _list(value.shape, lambda length: struct.pack("<q", length))
    return _u32(kind) + shape + struct.pack("<Q", len(content)) + content


def _u32(value: int) -> bytes:
    return struct.pack("<I", value)


def _text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogateescape")
    return _u32(len(content)) + content


def _list(values: Iterable[Any], one: Callable[[Any], bytes]) -> bytes:
    parts = [one(value) for value in values]
    return _u32(len(parts)) + b"".join(parts)
