"""What a search found: search.json, typed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgepack.toolchain.results import Calibration, Environment, Parity, Result

Side = Literal["uniform", "search", "random"]


class Measured(Result):
    """One candidate, built and measured. Nothing in here is predicted."""

    loss: float = Field(
        description="1 - mean cosine to fp32, or the metric's relative loss, on held-out data"
    )
    latency: float = Field(
        description="time of a call / time of the fp32 program's call, in turns in one process"
    )
    latency_low: float | None = Field(description="95 % interval of the ratio; None below 6 rounds")
    latency_high: float | None
    rounds: int = Field(description="turns that each took")
    size_bytes: int
    parity: Parity
    seconds: float = Field(description="to build, judge and time it")


class Predicted(Result):
    """What the predictors said before the candidate was measured."""

    loss: float
    latency: float
    size_bytes: float


class Point(Result):
    """One measured candidate of a search."""

    side: Side
    number: int = Field(description="of the trial in its study")
    order: int = Field(description="how many of its side were measured before it")
    choices: dict[str, str] = Field(default_factory=dict, description="sub-network choices")
    forms: dict[str, str] = Field(description="form by group")
    measured: Measured
    predicted: Predicted | None = Field(
        None, description="None: no predictor was ready, or it was switched off"
    )

    @property
    def values(self) -> tuple[float, float, float]:
        """The objectives: loss, latency ratio, bytes."""
        return (self.measured.loss, self.measured.latency, float(self.measured.size_bytes))

    @property
    def label(self) -> str:
        """How it is named in tables and plots."""
        return f"{self.side} {self.number}"


class PredictorCheck(Result):
    """Predictions held against what was measured afterwards."""

    quantity: Literal["loss", "latency", "size"]
    pairs: int
    spearman: float | None = Field(description="rank correlation; None with fewer than 3 different pairs")
    relative_error: float | None = Field(description="mean of |predicted - measured| / measured")


class Predictors(Result):
    """What became of the predictors."""

    used: bool
    switched_off: str | None = Field(None, description="why, in words")
    checks: list[PredictorCheck] = Field(default_factory=list)
    discard_rate: float = Field(description="share of proposals predicted to be useless that is not measured")
    discarded: int = Field(0, description="proposals that were not measured")


class SideResult(Result):
    """The search, or the random baseline."""

    side: Side
    sampler: str
    trials: int = Field(description="candidates measured")
    failed: int = Field(0, description="candidates that could not be built or run; they count as trials too")
    repeated: int = Field(0, description="proposals measured before, not measured again and not counted")
    seconds: float = Field(description="sum over its candidates, of building, judging and timing")
    hypervolume: float | None = Field(description="of what passed the gate, uniform assignments included")
    convergence: list[float] = Field(description="hypervolume after each of its candidates")
    front: list[int] = Field(description="numbers of its trials on its own front")


class Confirmed(Result):
    """A point of the front built and timed once more, beside all others of the front, in one process."""

    label: str
    latency: float
    latency_low: float | None
    latency_high: float | None
    rounds: int
    verdict: str


class GroupFacts(Result):
    """A group of nodes that shares a choice."""

    name: str
    nodes: list[str]
    forms: list[str]


class SearchResults(Result):
    """The whole of search.json."""

    format: Literal[1] = 1
    edgepack: str
    model: str
    target: str
    part: str
    command: str
    sampler: str
    trials: int = Field(description="asked for, of each side")
    metric: str = Field(description="what the loss is of")
    gate: dict[str, float]
    groups: list[GroupFacts]
    choices: dict[str, list[str]] = Field(default_factory=dict)
    points: list[Point]
    sides: list[SideResult]
    reference: tuple[float, float, float] = Field(description="reference point of all hypervolumes")
    better: Literal["search", "random", "equal", "unknown"] = Field(description="by hypervolume")
    predictors: Predictors
    front: list[str] = Field(description="labels of the points on the front of all that passed")
    confirmed: list[Confirmed] = Field(default_factory=list)
    chosen: str | None = Field(None, description="label of the fastest point that passed the gate")
    export_command: str | None = None
    fp32_bytes: int
    seconds: float = Field(description="wall-clock time of the runs that made this, their pauses left out")
    calibration: Calibration
    environment: Environment
    settings: dict[str, Any]
    notes: list[str] = Field(default_factory=list)
