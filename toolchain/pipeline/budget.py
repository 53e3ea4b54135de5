"""The planner's time: what is left of `--time-budget`, and the share of it that one part of one target may use.

A stage that has begun is finished, for half a candidate is worth nothing; no further one begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """The share of one part of one target.

    Attributes:
        ends: When it is used up, in seconds of `clock`; None without a budget.
        total: The whole budget in seconds, for messages.
        clock: Seconds.
    """

    ends: float | None
    total: float | None
    clock: Callable[[], float]

    @property
    def seconds(self) -> float | None:
        """What is left, at least 0; None without a budget."""
        return None if self.ends is None else max(0.0, self.ends - self.clock())

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.seconds == 0.0

    @property
    def reason(self) -> str:
        """Why something was not built, for the planner's table."""
        return f"this part's share of the time budget of {self.total:g} s was used up"


@dataclass
class Budget:
    """Counts from the moment it is made.

    Args:
        total: Seconds for everything; None: no bound.
        clock: Seconds; tests put their own.
    """

    total: float | None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._ends = None if self.total is None else self.clock() + self.total

    def turn(self, left: int) -> Turn:
        """An equal share of what is left for the first of `left` turns; what it does not use, others get."""
        if self._ends is None:
            return Turn(None, None, self.clock)
        now = self.clock()
        return Turn(now + max(0.0, self._ends - now) / max(1, left), self.total, self.clock)
