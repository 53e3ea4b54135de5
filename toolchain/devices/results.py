"""What `edgepack profile` finds, typed: the content of profile.json. A figure that was not obtained is None."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgepack.toolchain.results import Environment, Latency, Measurement, Parity, Result, Tool

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
    emulated: str | None = Field(
        None, description="what plays the device, where it is none; nothing is timed there"
    )


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


class Scenario(Result):
    """A measurement by the rules of one of MLPerf's scenarios; no MLPerf result: those are submitted and reviewed."""

    name: Literal["single-stream", "offline"]
    tool: Tool = Field(
        description="MLPerf's LoadGen, or edgepack by the same rules where the device has none"
    )
    queries: int = Field(description="samples, in offline")
    valid: bool = Field(description="whether there were as many samples and seconds as the rules ask for")
    why: list[str] = Field(default_factory=list, description="what is missing")
    p90_ms: float | None = Field(None, description="single stream: the figure it is judged by")
    p90_bound_ms: float | None = Field(None, description="upper bound of it at 99 % (early stopping)")
    samples_per_s: float | None = Field(None, description="offline: the figure it is judged by")


class ToolFigures(Result):
    """What a runtime's own benchmark tool says, in its own terms."""

    tool: Tool
    calls: int
    mean_ms: float
    std_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    median_ms: float | None = None
    p95_ms: float | None = None
    first_run_ms: float | None = None
    load_ms: float | None = None
    notes: list[str] = Field(default_factory=list)


class Measured(Result):
    """One part, or the calls in a row, on some cores."""

    unit: str = Field(description="a part's name, or 'calls in a row'")
    plan: Literal["as-is", "one-big", "all-big", "little", "all"]
    cpus: list[int] | None = Field(
        None, description="cores it was bound to; None: wherever the system put it"
    )
    threads: int | None = None
    skipped: str | None = Field(None, description="why there is no measurement")
    emulated: bool = Field(
        default=False, description="on an emulated device: no figure that depends on time or memory"
    )
    counted: list[Measurement] = Field(
        default_factory=list, description="executed instructions of one call, counted by the emulator"
    )
    latency: Latency | None = None
    tool: ToolFigures | None = Field(None, description="instead, by the runtime's own benchmark tool")
    parts: dict[str, Latency] = Field(
        default_factory=dict, description="of calls in a row: each part's calls, states handed over included"
    )
    calls_per_s: float | None = Field(None, description="one after the other: 1 / mean time")
    memory: DeviceMemory | None = None
    scenario: Scenario | None = None
    slowdown: float | None = Field(
        None, description="median of the last tenth of the windows over that of the first; from 20 windows on"
    )
    energy: Energy | None = None
    windows: list[Window] = Field(default_factory=list)
    before: Reading | None = None
    after: Reading | None = None
    notes: list[str] = Field(default_factory=list)


class HostAgreement(Result):
    """An emulated device's outputs beside those of this machine's runtime, on the same file and calls."""

    runtime: Tool
    calls: int
    same_bits: bool
    max_abs_error: float | None = None


class AndroidState(Result):
    """What Android's services said at one moment; empty where they did not."""

    thermal_status: str | None = Field(None, description="none, light, moderate, severe, critical, ...")
    powered_by: list[str] = Field(default_factory=list, description="AC, USB, ...; empty on battery")
    battery_percent: int | None = None
    battery_c: float | None = None
    battery_v: float | None = None


class TargetProfile(Result):
    """A target's artifacts on the device."""

    target: str
    precisions: dict[str, str] = Field(description="by part")
    size_bytes: int
    sent_bytes: int = Field(description="what the device did not have yet")
    parity: dict[str, Parity] = Field(description="by part, and of the calls in a row: the device's outputs")
    host: dict[str, HostAgreement] = Field(
        default_factory=dict, description="by part, of an emulated device: against this machine"
    )
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
    android_before: AndroidState | None = Field(None, description="before the first measurement")
    android_after: AndroidState | None = None
    links_lost: int = Field(0, description="how often the link broke and came back")
    notes: list[str] = Field(default_factory=list)
