"""One figure of a farm: a bundle's target on a device, and how it stands to the last good one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgepack.toolchain.results import Result

Verdict = Literal["first", "same", "faster", "worse", "failed", "no figure"]
BAD: frozenset[str] = frozenset({"worse", "failed"})


class FarmResult(Result):
    """A row of the report and of the database."""

    device: str
    address: str
    bundle: str
    target: str = ""
    unit: str = Field("", description="a part, or the calls in a row")
    plan: str = ""
    precision: str = ""
    settings: str = Field("", description="preset, threads and duration: what must be alike to compare")
    cpu_model: str = ""
    system: str = ""
    runtime: str = ""
    fingerprint: str = Field("", description="SHA-256 of the bundle's manifest")
    error: str | None = Field(None, description="why there is no figure")
    emulated: str = Field("", description="what plays the device, where it is none; then it has no times")
    instructions: float | None = Field(None, description="of one call, counted by the emulator")
    p50_ms: float | None = None
    ci_low_ms: float | None = None
    ci_high_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    samples: int | None = None
    first_run_ms: float | None = None
    load_ms: float | None = None
    peak_bytes: int | None = None
    size_bytes: int | None = None
    cosine: float | None = None
    created: str = Field("", description="UTC, ISO 8601")
    verdict: Verdict = "first"
    before_ms: float | None = Field(None, description="median of the last good run")
    before_instructions: float | None = Field(None, description="of the last good run")
    before_created: str | None = None
    why: str = Field("", description="the verdict in words")

    @property
    def key(self) -> tuple[str, ...]:
        """What a later run must share to be compared."""
        return (
            self.device,
            self.bundle,
            self.target,
            self.unit,
            self.plan,
            self.precision,
            self.settings,
        )


class FarmReport(Result):
    """One run of a farm."""

    run: int = Field(description="its number in the database")
    created: str
    edgepack: str
    tolerance: float
    results: list[FarmResult]

    @property
    def worse(self) -> list[FarmResult]:
        """What makes the run fail."""
        return [one for one in self.results if one.verdict in BAD]

    @property
    def failed(self) -> list[FarmResult]:
        """What gave no figure."""
        return [one for one in self.results if one.error]
