"""How long and on which cores a device is measured, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgepack.runtime.devices.runner import plans
from edgepack.runtime.statistics import P99_SAMPLES
from edgepack.toolchain.errors import UnknownNameError, UsageError


@dataclass(frozen=True)
class Settings:
    """What is asked of a measurement.

    Attributes:
        preset: Its name.
        min_samples: Fewest repetitions.
        min_seconds: Shortest time.
        max_seconds: After this no further repetition begins.
        every_s: Seconds between two readings of clocks and sensors.
        cool_down_s: Rest between two measurements.
        threads: Within one operator, where the cores are left to the system.
        plans: On which cores; names of `runner.plans`.
        scenario: Of SCENARIOS, whose rules decide when it is over and what counts; empty for none.
    """

    preset: str = "quick"
    min_samples: int = P99_SAMPLES
    min_seconds: float = 1.0
    max_seconds: float = 20.0
    every_s: float = 1.0
    cool_down_s: float = 0.0
    threads: int = 1
    plans: tuple[str, ...] = (plans.AS_IS,)
    scenario: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields."""
        return {**asdict(self), "plans": list(self.plans)}

    @property
    def seconds(self) -> float:
        """Longest that one measurement may take, its warm-up and a slow device's loading included."""
        return 1.25 * self.max_seconds + self.cool_down_s + 300


# MLPerf Mobile's single-stream: at least 1024 samples and 60 s, judged by the 90th percentile (V. J. Reddi et
# al., MLPerf Mobile Inference Benchmark, MLSys 2022, section 4); a rest between two tests. Our loop follows
# these rules and is not MLPerf's LoadGen: its figures are no MLPerf results.
PRESETS: Mapping[str, Settings] = {
    "quick": Settings(),
    "single-stream": Settings("single-stream", 1024, 60.0, 600.0, cool_down_s=5.0),
    "sustained": Settings("sustained", P99_SAMPLES, 300.0, 300.0),
}

# The same with LoadGen, where the device has it. Offline: one query of at least 24,576 samples, and 60 s (section 4,
# and MLCommons' inference_rules.adoc); an hour is ours, for slow devices.
SCENARIOS: Mapping[str, Settings] = {
    "single-stream": replace(PRESETS["single-stream"], scenario="single-stream"),
    "offline": Settings("quick", 24_576, 60.0, 3600.0, cool_down_s=5.0, scenario="offline"),
}


def make(
    preset: str = "quick",
    *,
    scenario: str | None = None,
    sustain_s: float | None = None,
    sweep: bool = False,
    threads: int = 1,
) -> Settings:
    """Settings of a preset, or of a scenario, with what was asked for besides.

    Args:
        preset: Name in PRESETS.
        scenario: Name in SCENARIOS, instead of a preset.
        sustain_s: Measure each for so many seconds, with a plot over time.
        sweep: On one big core, all big, little, and all cores, too.
        threads: Within one operator.

    Raises:
        UnknownNameError: No such preset or scenario.
        UsageError: A number that makes no sense.
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS, where="--preset")
    if threads < 1:
        raise UsageError("At least one thread is needed", where=f"--threads {threads}")
    if scenario is not None and scenario not in SCENARIOS:
        raise UnknownNameError("scenario", scenario, SCENARIOS, where="--scenario")
    if scenario is not None and preset != Settings.preset:
        raise UsageError(
            "A scenario has rules of its own",
            where=f"--scenario {scenario} --preset {preset}",
            todo="Leave one of them out",
        )
    settings = replace(SCENARIOS[scenario] if scenario else PRESETS[preset], threads=threads)
    if sustain_s is not None:
        if not 0 < sustain_s < float("inf"):
            raise UsageError("A duration is a positive number of seconds", where=f"--sustain {sustain_s:g}")
        longest = max(sustain_s, settings.max_seconds)
        settings = replace(settings, min_seconds=max(sustain_s, settings.min_seconds), max_seconds=longest)
    return replace(settings, plans=(plans.AS_IS, *plans.SWEEP)) if sweep else settings
