r"""BiBench's overall metrics: one number a track, each a quadratic mean of ratios, so that 1 is the float network.

For a binary method b beside the float network, with E the mean over what the track varies:

    task          sqrt( 1/N sum_i E(A_b,i / A_i)^2 )                         over the N tasks i; A is accuracy
    architecture  sqrt( 1/N sum_i E(A_b,i / A_i)^2 )                         over the N architectures of the first task
    robustness    sqrt( 1/C sum_c E(G_c / G_b,c)^2 ),  G_c = A - A_c         over corruptions c: gaps, smaller is better
    training      sqrt( 1/2 (E(T / T_b)^2 + E(D / D_b)^2) )                  T seconds, D deviation over rates
    complexity    sqrt( 1/2 (E(r_c)^2 + E(r_s)^2) )                          ratios of storage and operations
    inference     sqrt( 1/2 (E(T / T_b)^2 + E(S / S_b)^2) )                  T seconds of a call, S bytes of the file

The form (section 4 of Qin et al. 2023, arXiv:2301.11233) is written from memory. We are sure of the quadratic means, of
the relative accuracies and of r_c and r_s (`cells/complexity.py`); less so of the gap's direction (float over binary,
so that above 1 is more robust) and of the second term of training, there the sensitivity to hyperparameters. Here
architectures are CNN, residual CNN and transformer, where the paper has CNN, transformer and perceptron; training is
T alone where no rates were varied; a task counts with the mean of its architectures; a corruption counts with the mean
over its severities and networks.

A gap that is zero or negative has no ratio: that corruption is left out, and the notes say so. What was not obtained
for every cell that fp32 has leaves the track without a number.

Beside them, of Hendrycks and Dietterich 2019 (arXiv:1903.12261), with fp32 in the place of AlexNet and E errors:

    mCE           mean over c of  sum_s E_b,c,s / sum_s E_c,s
    relative mCE  mean over c of  sum_s (E_b,c,s - E_b) / sum_s (E_c,s - E)
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, pstdev

from edgepack.toolchain.bibench.results import BASELINE, Cell, Overall, Timing

TRACKS = ("task", "architecture", "robustness", "training", "complexity", "inference")
Pair = tuple[Cell, Cell]
"""A method's cell and fp32's of the same task and architecture."""


class _NothingError(Exception):
    """Why a track has no number."""


def quadratic_mean(values: Iterable[float]) -> float:
    """The root of the mean of the squares."""
    return math.sqrt(fmean(value * value for value in values))


def overall(method: str, cells: Sequence[Cell], timings: Sequence[Timing]) -> Overall:
    """All tracks of one method.

    Args:
        method: Its name.
        cells: Of all methods, fp32 among them.
        timings: The same.
    """
    notes: list[str] = []
    tracks: dict[str, float | None] = {}
    missing: dict[str, str] = {}

    def track(name: str, number: Callable[[], float]) -> None:
        try:
            tracks[name] = number()
        except _NothingError as why:
            tracks[name] = None
            missing[name] = str(why)

    def pairs() -> list[Pair]:
        return _pairs(method, cells)

    track("task", lambda: _tasks(pairs()))
    track("architecture", lambda: _architectures(pairs()))
    track("robustness", lambda: _robustness(pairs(), notes))
    track("training", lambda: _training(method, pairs(), cells, notes))
    track("complexity", lambda: _complexity(pairs()))
    track("inference", lambda: _inference(method, pairs(), timings))
    result = Overall(method=method, tracks=tracks, missing=missing, notes=notes)
    with contextlib.suppress(_NothingError):
        result.corruption_error, result.relative_corruption_error = corruption_errors(pairs())
    return result


def _pairs(method: str, cells: Sequence[Cell]) -> list[Pair]:
    """All cells of fp32 with the method's beside them."""
    by_method = {(cell.method, *cell.at): cell for cell in cells if cell.rate_factor == 1}
    found = []
    for (name, task, architecture), baseline in by_method.items():
        if name != BASELINE or baseline.accuracy is None:
            continue
        own = by_method.get((method, task, architecture))
        if own is None or own.accuracy is None:
            why = own.missing if own else "not in the table"
            raise _NothingError(f"{task} {architecture}: {why}")
        found.append((own, baseline))
    if not found:
        raise _NothingError("fp32 has no accuracy")
    return found


def _relative(pair: Pair) -> float:
    own, baseline = pair
    assert own.accuracy is not None  # noqa: S101 - _pairs sees to it
    assert baseline.accuracy is not None  # noqa: S101
    if baseline.accuracy == 0:
        raise _NothingError(f"{' '.join(own.at)}: fp32's accuracy is 0")
    return own.accuracy / baseline.accuracy


def _tasks(pairs: Sequence[Pair]) -> float:
    by_task: dict[str, list[float]] = {}
    for pair in pairs:
        by_task.setdefault(pair[0].task, []).append(_relative(pair))
    return quadratic_mean(map(fmean, by_task.values()))


def _architectures(pairs: Sequence[Pair]) -> float:
    first = pairs[0][0].task
    return quadratic_mean(_relative(pair) for pair in pairs if pair[0].task == first)


def _accuracies(cell: Cell) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for point in cell.corrupted:
        found.setdefault(point.name, []).append(point.accuracy)
    return found


def _both_corrupted(pairs: Sequence[Pair]) -> list[tuple[dict[str, list[float]], dict[str, list[float]]]]:
    found = [(_accuracies(own), _accuracies(baseline)) for own, baseline in pairs if baseline.corrupted]
    if not found:
        raise _NothingError("no task with images")
    return found


def _robustness(pairs: Sequence[Pair], notes: list[str]) -> float:
    gaps: dict[str, list[tuple[float, float]]] = {}
    for own, baseline in _both_corrupted(pairs):
        for name in baseline.keys() - {"none"}:
            gap = baseline["none"][0] - fmean(baseline[name])
            gaps.setdefault(name, []).append((gap, own["none"][0] - fmean(own[name])))
    ratios = []
    left_out = []
    for name, values in sorted(gaps.items()):
        usable = [gap / its for gap, its in values if gap > 0 and its > 0]
        if len(usable) == len(values):
            ratios.append(fmean(usable))
        else:
            left_out.append(name)
    if left_out:
        notes.append(f"robustness without {', '.join(left_out)}: a gap there is zero or negative")
    if not ratios:
        raise _NothingError("every gap is zero or negative somewhere")
    return quadratic_mean(ratios)


def corruption_errors(pairs: Sequence[Pair]) -> tuple[float | None, float | None]:
    """The mCE and relative mCE over all networks; None where a denominator is zero or negative."""
    plain: list[float] = []
    relative: list[float] = []
    for own, baseline in _both_corrupted(pairs):
        for name in baseline.keys() - {"none"}:
            reference = sum(1 - a for a in baseline[name])
            plain.append(_quotient(sum(1 - a for a in own[name]), reference))
            lost, lost_reference = (sum(of["none"][0] - a for a in of[name]) for of in (own, baseline))
            relative.append(_quotient(lost, lost_reference))
    return _mean(plain), _mean(relative)


def _quotient(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan


def _mean(values: Sequence[float]) -> float | None:
    mean = fmean(values)
    return mean if math.isfinite(mean) else None


def _training(method: str, pairs: Sequence[Pair], cells: Sequence[Cell], notes: list[str]) -> float:
    ratios = [
        baseline.training.cpu_seconds / own.training.cpu_seconds
        for own, baseline in pairs
        if own.training and baseline.training
    ]
    spreads = {name: _spread(name, cells) for name in (method, BASELINE)}
    own_spread, reference = spreads[method], spreads[BASELINE]
    if own_spread is None or reference is None:
        notes.append("training: time alone, no learning rates were varied")
        return quadratic_mean([fmean(ratios)])
    if own_spread == 0:
        notes.append("training: time alone, the accuracy was the same at all learning rates")
        return quadratic_mean([fmean(ratios)])
    return quadratic_mean([fmean(ratios), reference / own_spread])


def _spread(method: str, cells: Sequence[Cell]) -> float | None:
    """Deviation of the accuracy over learning rates, where they were varied."""
    varied = {cell.at for cell in cells if cell.rate_factor != 1}
    found = [
        cell.accuracy
        for cell in cells
        if cell.method == method and cell.at in varied and cell.accuracy is not None
    ]
    return pstdev(found) if len(found) > 1 else None


def _complexity(pairs: Sequence[Pair]) -> float:
    counts = [own.complexity for own, _ in pairs if own.complexity]
    if not counts:
        raise _NothingError("nothing was counted")
    return quadratic_mean(
        [fmean(count.storage_ratio for count in counts), fmean(count.operation_ratio for count in counts)]
    )


def _inference(method: str, pairs: Sequence[Pair], timings: Sequence[Timing]) -> float:
    speed: Mapping[tuple[str, str], float] = {
        (timing.task, timing.architecture): timing.against_fp32.ratio
        for timing in timings
        if timing.method == method and timing.against_fp32
    }
    sizes = []
    for own, baseline in pairs:
        if own.artifact is None or baseline.artifact is None:
            raise _NothingError(f"{' '.join(own.at)}: {own.not_exported or baseline.not_exported}")
        if own.at not in speed:
            raise _NothingError(f"{' '.join(own.at)}: not timed")
        sizes.append(baseline.artifact.size_bytes / own.artifact.size_bytes)
    return quadratic_mean([fmean(speed.values()), fmean(sizes)])
