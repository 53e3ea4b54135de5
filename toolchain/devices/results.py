"""What `edgepack profile` finds, typed: the content of profile.json. A figure that was not obtained is None."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgepack.toolchain.results import Environment, Latency, Parity, Result

NO_PYTHON = "none"
"""What stands for the version of Python where our own runner ran."""


class Cluster(Result):
    """Cores of one kind."""

    cpus: list[int]
    max_khz: int | None = Field(description="highest clock that the hardware has")


class DeviceFacts(Result):
    """Which device it was."""

    address: str
    system: str
    environment: Environment
    clusters: list[Cluster] = Field(description="slowest first")


class DeviceMemory(Result):
    """Peak resident memory (VmHWM) of a process made for the measurement, bytes."""

    baseline_bytes: int = Field(description="after importing the runtime")
    load_bytes: int = Field(description="after loading")
    peak_bytes: int = Field(description="after the warm-up's calls")
    end_bytes: int = Field(description="after the last call: above the peak, something grew")


class Reading(Result):
    """What the device's files said at one moment; clocks by core in kHz, temperatures in degrees Celsius."""

    clock_khz: dict[str, int] = Field(default_factory=dict)
    cap_khz: dict[str, int] = Field(default_factory=dict, description="highest clock allowed at that moment")
    governor: dict[str, str] = Field(default_factory=dict)
    temperature_c: dict[str, float] = Field(default_factory=dict)
    throttled: dict[str, int] = Field(
        default_factory=dict, description="by source; grows or is not 0 when hot"
    )
    power: dict[str, dict[str, str]] = Field(default_factory=dict, description="by supply, as its files say")


class Window(Result):
    """About a second of a measurement."""

    s: float = Field(description="its end, seconds since the first sample")
    samples: int
    p50_ms: float
    p90_ms: float | None = None
    reading: Reading


class Energy(Result):
    """What the battery gave while it was measured: the whole device, its screen included."""

    watts: float
    joules_per_call: float
    note: str


class Measured(Result):
    """One part, or the calls in a row, on some cores."""

    unit: str = Field(description="a part's name, or 'calls in a row'")
    plan: Literal["as-is", "one-big", "all-big", "little", "all"]
    cpus: list[int] | None = Field(
        None, description="cores it was bound to; None: wherever the system put it"
    )
    threads: int | None = None
    skipped: str | None = Field(None, description="why there is no measurement")
    latency: Latency | None = None
    parts: dict[str, Latency] = Field(
        default_factory=dict, description="of calls in a row: each part's calls, states handed over included"
    )
    calls_per_s: float | None = Field(None, description="one after the other: 1 / mean time")
    memory: DeviceMemory | None = None
    slowdown: float | None = Field(
        None, description="median of the last tenth of the windows over that of the first; from 20 windows on"
    )
    energy: Energy | None = None
    windows: list[Window] = Field(default_factory=list)
    before: Reading | None = None
    after: Reading | None = None
    notes: list[str] = Field(default_factory=list)


class TargetProfile(Result):
    """A target's artifacts on the device."""

    target: str
    precisions: dict[str, str] = Field(description="by part")
    size_bytes: int
    sent_bytes: int = Field(description="what the device did not have yet")
    parity: dict[str, Parity] = Field(description="by part, and of the calls in a row: the device's outputs")
    measured: list[Measured] = Field(default_factory=list)


class DeviceProfile(Result):
    """Everything that one call of `edgepack profile` found."""

    edgepack: str
    bundle: str
    created: str = Field(description="UTC, ISO 8601")
    command: str
    settings: dict[str, Any]
    device: DeviceFacts
    targets: list[TargetProfile] = Field(default_factory=list)
    left_out: dict[str, str] = Field(
        default_factory=dict, description="targets that do not run there, and why"
    )
    links_lost: int = Field(0, description="how often the link broke and came back")
    notes: list[str] = Field(default_factory=list)
