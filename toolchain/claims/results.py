"""The typed results of measuring a claim; what is written as JSON, one point a file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgepack.toolchain.results import Environment, Result


class Value(Result):
    """One quantity at one point, of two sides that were measured in turn."""

    name: str
    unit: str
    better: Literal["lower", "higher"]
    at: dict[str, int] = Field(default_factory=dict, description="what distinguishes it within the point")
    medians: dict[str, float] = Field(description="of every side")
    ratio: float = Field(description="how many times better the claimed side is; median over rounds")
    ci_low: float | None = Field(None, description="95 % confidence interval; None with fewer than 6 rounds")
    ci_high: float | None = None
    rounds: int


class Point(Result):
    """All quantities of one setting."""

    at: dict[str, int | str] = Field(description="the setting, such as size and input length")
    values: list[Value]
    facts: dict[str, str] = Field(default_factory=dict, description="what each side is, in words")
    load_average: float | None = Field(
        None, description="of the machine when this point began; 1 is one busy core"
    )
    seconds: float
    measured_on: str = Field(description="day, UTC")


class Fit(Result):
    """How a cost of one side grows with length: cost = c n^exponent, by least squares of logarithms."""

    size: str
    value: str
    side: str
    exponent: float
    lengths: int = Field(description="how many")
    shortest: int
    longest: int


class ClaimResults(Result):
    """Everything that was measured of a claim."""

    claim: str
    command: str = Field(description="reproduces it")
    sides: list[str] = Field(description="the claimed side first")
    facts: dict[str, str] = Field(default_factory=dict, description="what was compared, in words")
    notes: list[str] = Field(default_factory=list)
    points: list[Point]
    fits: list[Fit] = Field(default_factory=list)
    environment: Environment
