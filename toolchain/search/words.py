"""A search's results in words, shared by the terminal and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from edgepack.toolchain.parity import AGREEMENT
from edgepack.toolchain.report import text
from edgepack.toolchain.search.results import Point, SearchResults

HEAD = (
    "Point",
    "Loss",
    "Speed against fp32",
    "Once more, together",
    "Size",
    "Gate",
    "Layers by form",
    "Predicted speed",
)
NAMES = {"nsga2": "NSGA-II", "tpe": "TPE", "random": "random"}


def front_rows(results: SearchResults) -> Iterator[tuple[str, ...]]:
    """One row a point of the front, fastest first."""
    by_label = {point.label: point for point in results.points}
    again = {entry.label: entry for entry in results.confirmed}
    for label in results.front:
        point, confirmed = by_label[label], again.get(label)
        yield (
            label + (" (chosen)" if label == results.chosen else ""),
            f"{point.measured.loss:.3g}",
            speed(point.measured.latency, point.measured.latency_low, point.measured.latency_high),
            speed(confirmed.latency, confirmed.latency_low, confirmed.latency_high) if confirmed else "",
            text.size(point.measured.size_bytes),
            "passed" if point.measured.parity.passed else "failed",
            forms(results, point),
            f"{1 / point.predicted.latency:.2f}x" if point.predicted and point.predicted.latency else "",
        )


def speed(latency: float, low: float | None, high: float | None) -> str:
    """A latency ratio as a speed: "2.41x [2.33, 2.50]", the interval left out when there is none."""
    if low is None or high is None:
        return f"{1 / latency:.2f}x"
    return f"{1 / latency:.2f}x [{1 / high:.2f}, {1 / low:.2f}]"


def forms(results: SearchResults, point: Point) -> str:
    """How many groups take which form, and the sub-network."""
    counts = Counter(point.forms.values())
    if not point.choices:
        counts["fp32"] = len(results.groups) - counts.total()
    words = [f"{name}={value}" for name, value in point.choices.items()]
    words += [f"{count} {form}" for form, count in sorted(counts.items()) if count]
    return ", ".join(words)


def sentences(results: SearchResults) -> list[str]:
    """What the search found, honestly."""
    search, random = results.sides
    name = NAMES[results.sampler]
    found = []
    if results.chosen:
        again = next(entry for entry in results.confirmed if entry.label == results.chosen)
        point = next(point for point in results.points if point.label == results.chosen)
        found.append(
            f"Chosen: {results.chosen}, the fastest of the front that passed the gate: "
            f"{speed(again.latency, again.latency_low, again.latency_high)} against fp32 ({again.verdict}), "
            f"{text.size(point.measured.size_bytes)} against {text.size(results.fp32_bytes)}, "
            f"loss {point.measured.loss:.3g} ({results.metric})."
        )
    else:
        found.append("Nothing passed the gate.")
    if search.hypervolume is not None and random.hypervolume is not None:
        verdict = {"search": f"{name} is ahead", "random": "the random search is ahead"}
        found.append(
            f"{name} and random search, {search.trials} and {random.trials} candidates measured in turns "
            f"({search.seconds:.0f} s and {random.seconds:.0f} s): hypervolume {search.hypervolume:.4f} and "
            f"{random.hypervolume:.4f}; {verdict.get(results.better, 'they are equal')}. "
            "One run of each says little about the samplers."
        )
    found.append(_predictors(results))
    found += [f"{note[0].upper()}{note[1:]}." for note in results.notes]
    return found


def _predictors(results: SearchResults) -> str:
    predictors = results.predictors
    if not predictors.used:
        return "No candidate was predicted; every proposal that was new was measured."
    parts = []
    for check in predictors.checks:
        rank = "no rank correlation" if check.spearman is None else f"rank correlation {check.spearman:.2f}"
        error = "" if check.relative_error is None else f", mean relative error {check.relative_error:.0%}"
        parts.append(f"{check.quantity} {rank}{error}")
    words = (
        f"Predictors, held against {predictors.checks[0].pairs} measurements made afterwards: {'; '.join(parts)}. "
        f"{predictors.discarded} proposals that they found useless were not measured "
        f"({predictors.discard_rate:.0%} of such)."
    )
    if predictors.switched_off:
        words += f" They were switched off: {predictors.switched_off}."
    return words


def conditions(results: SearchResults) -> list[str]:
    """What a reader must know of how it was measured."""
    machine = results.environment
    load = "" if machine.load_average is None else f", load average {machine.load_average:.1f} at the end"
    reference = ", ".join(f"{value:.4g}" for value in results.reference)
    rounds = [point.measured.rounds for point in results.points]
    return [
        (
            f"{machine.cpu_model}, {machine.cores} cores, {machine.threads} used{load}; "
            f"onnxruntime {machine.packages.get('onnxruntime', '')}"
        ),
        (
            f"latency: a candidate and fp32 in turns in one process, {min(rounds, default=0)} to "
            f"{max(rounds, default=0)} rounds, the median ratio with its 95 % interval; processes never time at once"
        ),
        (
            f"loss: {'1 - ' * (results.metric in AGREEMENT)}{results.metric} "
            f"on {results.calibration.held_out} held-out samples ({results.calibration.description})"
        ),
        (
            f"hypervolume: share of the box between the best value of each objective and the reference point "
            f"({reference}: loss, latency ratio, bytes), a tenth beyond the worst that passed; uniform assignments, "
            "with which both sides begin, are counted on both"
        ),
        f"{len(results.groups)} groups of layers; {results.seconds:.0f} s of measuring in all",
    ]
