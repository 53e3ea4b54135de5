"""What a claim is: a paper's figure, and how it is measured here.

A claim's own statement is never adjusted to what comes out, and a figure that was not measured is not shown.
One claim a file, filed in `claims`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgepack.toolchain.claims.results import ClaimResults
from edgepack.toolchain.registry import Registry

if TYPE_CHECKING:
    from edgepack.toolchain.cache import Cache

Listener = Callable[[int, int, str], object]
"""Told how many steps are done, of how many, and what is being done now."""


@dataclass(frozen=True)
class Statement:
    """One figure of a paper.

    Attributes:
        value: Name of the measured value that it speaks of.
        says: The paper's words, short.
        where: Where it says so.
        ratio: The figure as "how many times better", such as 1.887 for 47 % lower; None where the paper says better and
            gives no figure.
        words: How such a ratio is put: "lower" as "47 % lower", "times" as "4.70x".
    """

    value: str
    says: str
    where: str
    ratio: float | None
    words: Literal["lower", "times"]


@dataclass(frozen=True)
class Settings:
    """What is to be measured, and where it is kept.

    Attributes:
        out: Receives one file a point, as soon as it is measured; what lies there is not measured again.
        cache: For exported models.
        sizes: Names of model sizes; all of the claim's when empty.
        inputs: Lengths of the input in tokens; the claim's own when empty.
        outputs: Lengths of the output in tokens; the claim's own when empty.
        rounds: How often each side runs; below 6 there is no confidence interval.
        threads: Threads within one operator.
        precision: "fp32" or "int8-dynamic".
        quick: A small grid instead of the claim's own.
        time_limit_s: Of an export.
    """

    out: Path
    cache: Cache
    sizes: tuple[str, ...] = ()
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    rounds: int = 7
    threads: int = 1
    precision: str = "fp32"
    quick: bool = False
    time_limit_s: float = 1800.0


@dataclass(frozen=True)
class Claim:
    """A paper's claim.

    Attributes:
        name: As it is asked for.
        row: Row of the table of systems.
        paper: Title.
        arxiv: Identifier, or None.
        statements: Its figures.
        measure: `measure(settings, listener)`.
    """

    name: str
    row: str
    paper: str
    arxiv: str | None
    statements: Sequence[Statement]
    measure: Callable[[Settings, Listener], ClaimResults]


claims: Registry[Claim] = Registry("claim", "edgepack.toolchain.claims", "edgepack.claims")
