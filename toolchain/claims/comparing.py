"""Claims of one kind, declared: an architecture at a size against a baseline at that size, over lengths.

    for every length n:   both sides take turns in one process, round by round; the ratio is other / claimed of a round
    over the lengths:     cost = c n^e, so e is the slope of log cost over log n by least squares

What `n` is, the claim says: tokens, pixels, candidates, frames of a window. Counted are the multiply-accumulates of
convolutions and products of matrices, which leaves the elementwise work of a scan out; measured is the time of one call
in ONNX Runtime, and, where asked for, the memory that it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Claim, Listener, Settings, Statement, claims
from edgepack.toolchain.claims.results import ClaimResults, Point, Value
from edgepack.toolchain.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel
    from edgepack.toolchain.claims._opened import Opened

TOLERANCE = 0.03
"""How far the parameters of sides of equal size may be apart, relative."""
LATENCY, MACS, MEMORY, RATE = "latency", "multiply-accumulates", "memory of a call", "throughput"


@dataclass(frozen=True)
class Work:
    """Calls of one part.

    Attributes:
        part: Which.
        sizes: Named dimensions of a call; what is left out is as in the part's example.
        times: How often it is called, one call after the other.
    """

    part: str = "main"
    sizes: Mapping[str, int] = field(default_factory=dict)
    times: int = 1


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes:
        name: For people.
        build: From (size, length) to the model in torch; the length is for what has fixed sizes.
        work: From a length to the calls that are compared with the other side's.
        dynamic: Whether one model serves all lengths.
    """

    name: str
    build: Callable[[str, int], TorchModel]
    work: Callable[[int], Sequence[Work]] = lambda _: (Work(),)
    dynamic: bool = True


@dataclass(frozen=True)
class Comparison:
    """What is compared, and over what.

    Attributes:
        name: The claim's.
        row: Row of the table of systems.
        paper: Title.
        arxiv: Identifier, or None.
        statements: The paper's figures; each names a value, `LATENCY`, `MACS`, `MEMORY` or `RATE`.
        sides: The claimed one first.
        lengths: Over which it is measured; with four or more an exponent is fitted.
        quick: The same for a quick look.
        of: What a length is: "tokens", "pixels of a side".
        sizes: Names of sizes.
        quick_size: The size for a quick look.
        memory: Whether memory is measured too, in a process for each side and length, of the first call.
        power: What a length counts as in the fit: 2 for sides of a square, so that the exponent is over pixels.
        least: The shortest length of a size that its sides exist for.
        equal: Whether both sides have as many parameters, within `TOLERANCE`.
        notes: What a reader must know.
    """

    name: str
    row: str
    paper: str
    arxiv: str | None
    statements: Sequence[Statement]
    sides: tuple[Side, Side]
    lengths: tuple[int, ...]
    quick: tuple[int, ...]
    of: str
    sizes: tuple[str, ...]
    quick_size: str
    memory: bool = False
    power: int = 1
    least: Callable[[str], int] = lambda _size: 1
    equal: bool = True
    notes: Sequence[str] = field(default_factory=tuple)


COMPARISONS: dict[str, Comparison] = {}
"""The declared ones by name, once their modules are imported."""


def compare(comparison: Comparison) -> Claim:
    """File a comparison as a claim."""
    COMPARISONS[comparison.name] = comparison
    claim = Claim(
        comparison.name, comparison.row, comparison.paper, comparison.arxiv, tuple(comparison.statements),
        lambda settings, listener: measure(comparison, settings, listener),
    )  # fmt: skip
    claims.register(comparison.name)(claim)
    return claim


def measure(comparison: Comparison, settings: Settings, listener: Listener) -> ClaimResults:
    """Measure the grid, point by point; points that lie in `settings.out` are read.

    Raises:
        UnknownNameError: An unknown size.
        UsageError: A setting that this claim does not have.
        ExportError: A model could not be exported or disagrees with its source.
    """
    from edgepack.runtime import environment
    from edgepack.toolchain.claims._fits import fits
    from edgepack.toolchain.claims._opened import code_key
    from edgepack.toolchain.claims.points import Points

    sizes, lengths = _grid(comparison, settings)
    captured = environment.capture(settings.threads, spinning=False)
    store = Points(
        settings.out,
        {"code": code_key(), "environment": environment.fingerprint(captured), "rounds": settings.rounds},
    )
    points: list[Point] = []
    facts: dict[str, str] = {}
    total = len(sizes) * len(lengths)
    for size in sizes:
        for length in lengths:
            at: dict[str, int | str] = {
                "size": size, "input": length, "precision": "fp32", "threads": settings.threads,
            }  # fmt: skip
            point = store.read(at)
            if point is None:
                listener(len(points), total, f"{size}, {comparison.of} {length}")
                point = _point(comparison, settings, size, length, at)
                store.write(point)
            facts |= {f"{side} {size}": words for side, words in point.facts.items()}
            points.append(point)
    listener(total, total, "done")
    return ClaimResults(
        claim=comparison.name, command=_command(comparison, settings),
        sides=[side.name for side in comparison.sides], facts=facts,
        notes=[f"Input is in {comparison.of}; weights are random from a fixed seed.", *comparison.notes],
        points=points, fits=fits(points, comparison.power), environment=captured,
    )  # fmt: skip


def _grid(comparison: Comparison, settings: Settings) -> tuple[tuple[str, ...], tuple[int, ...]]:
    where = f"claim {comparison.name}"
    if settings.outputs or settings.precision != "fp32":
        raise UsageError(
            "This claim is of single calls in fp32: it has no output lengths and no other precision",
            where=where,
            todo="Leave --output and --precision out",
        )
    sizes = settings.sizes or ((comparison.quick_size,) if settings.quick else comparison.sizes)
    lengths = settings.inputs or (comparison.quick if settings.quick else comparison.lengths)
    known = dict.fromkeys((comparison.quick_size, *comparison.sizes))
    for size in sizes:
        if size not in known:
            raise UnknownNameError("size", size, known, where="--size")
    if min(*lengths, settings.rounds, settings.threads) < 1:
        raise UsageError(
            "A length, a number of rounds or of threads is below 1", where=where, todo="Give positive numbers"
        )
    for size in sizes:
        if min(lengths) < (least := comparison.least(size)):
            raise UsageError(
                f"At size {size} this claim's shortest length is {least} {comparison.of}, not {min(lengths)}",
                where="--input",
                todo=f"Give {least} or more",
            )
    return sizes, lengths


def _point(
    comparison: Comparison, settings: Settings, size: str, length: int, at: dict[str, int | str]
) -> Point:
    import os
    from contextlib import ExitStack

    from edgepack.toolchain.claims._opened import opened
    from edgepack.toolchain.claims._rounds import call_times_ms, compared

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    begin = time.perf_counter()
    with ExitStack() as stack:
        both = {
            side.name: stack.enter_context(opened(comparison.name, side, size, length, settings))
            for side in comparison.sides
        }
        times = call_times_ms({name: one.run for name, one in both.items()}, settings.rounds)
        values = [compared(LATENCY, "ms", "lower", times)]
        rates = {name: [1e3 / sample for sample in samples] for name, samples in times.items()}
        values.append(compared(RATE, "calls/s", "higher", rates))
        values += _once(MACS, "millions", {name: one.macs / 1e6 for name, one in both.items()})
        facts = {name: one.facts for name, one in both.items()}
    if comparison.memory:
        values += _once(MEMORY, "MiB", {name: _mib(one, settings) for name, one in both.items()})
    return Point(
        at=at, values=values, facts=facts, load_average=load, seconds=time.perf_counter() - begin,
        measured_on=datetime.now(timezone.utc).date().isoformat(),
    )  # fmt: skip


def _once(name: str, unit: str, figures: Mapping[str, float]) -> list[Value]:
    """A value that is got once and not in rounds; none where a side has nothing of it."""
    from edgepack.toolchain.claims._rounds import compared

    if min(figures.values()) <= 0:
        return []
    return [compared(name, unit, "lower", {side: [figure] for side, figure in figures.items()})]


def _mib(one: Opened, settings: Settings) -> float:
    from edgepack.runtime import memory

    path, signature, feed = one.first
    peak = memory.peak("onnxruntime", path, signature, feed, settings.threads, settings.time_limit_s)
    return (peak.peak_bytes - (peak.load_bytes or 0)) / 2**20


def _command(comparison: Comparison, settings: Settings) -> str:
    own = Settings(settings.out, settings.cache)
    words = ["edgepack claims", comparison.name]
    words += ["--quick"] if settings.quick else []
    words += ["--size", ",".join(settings.sizes)] if settings.sizes else []
    words += ["--input", ",".join(map(str, settings.inputs))] if settings.inputs else []
    words += ["--rounds", str(settings.rounds)] if settings.rounds != own.rounds else []
    words += ["--threads", str(settings.threads)] if settings.threads != own.threads else []
    return " ".join(words)
