"""A claim's results in words: sentences and rows that the terminal, Markdown and the page share."""

from __future__ import annotations

from collections.abc import Iterator

from edgepack.toolchain.claims.base import Claim, Statement
from edgepack.toolchain.claims.results import ClaimResults, Fit, Point, Value


def better(value: Value, words: str) -> str:
    """The ratio with its interval: "38 % lower [36, 41]" or "2.41x [2.33, 2.50]"."""
    ends = [end for end in (value.ci_low, value.ci_high) if end is not None]
    shown = [100 * (1 - 1 / ratio) if words == "lower" else ratio for ratio in (value.ratio, *ends)]
    if words == "lower":
        # A negative share lower is a share higher: better said so, with the ends in the right order.
        up = shown[0] < 0
        numbers = [f"{-number if up else number:.1f}" for number in shown]
        interval = numbers[:0:-1] if up else numbers[1:]
        text = f"{numbers[0]} % {'higher' if up else 'lower'}"
    else:
        numbers = [f"{number:.2f}" for number in shown]
        interval, text = numbers[1:], f"{numbers[0]}x"
    return f"{text} [{', '.join(interval)}]" if interval else text


def sentences(claim: Claim, results: ClaimResults) -> list[str]:
    """The paper's figure beside what was measured, one sentence a point (the longest output of each)."""
    found = []
    for statement in claim.statements:
        for point in results.points:
            values = [value for value in point.values if value.name == statement.value]
            if values:
                longest = max(values, key=lambda value: max(value.at.values(), default=0))
                found.append(
                    f"{statement.value}: the paper says {statement.says}; here "
                    f"{better(longest, statement.words)} at {setting(point, longest)}"
                )
    return found


def setting(point: Point, value: Value) -> str:
    """Such as "30m, input 1024, output 256"; what all points share is left to the heading."""
    size = str(point.at.get("size", ""))
    rest = [f"{k} {v}" for k, v in (*point.at.items(), *value.at.items()) if k in {"input", "output"}]
    return ", ".join(word for word in (size, *rest) if word)


def growth(results: ClaimResults) -> list[str]:
    """How every cost grows with length, both sides in one sentence."""
    grouped: dict[tuple[str, str], list[Fit]] = {}
    for fit in results.fits:
        grouped.setdefault((fit.size, fit.value), []).append(fit)
    return [
        f"{value} over {several[0].shortest:,} to {several[0].longest:,} ({several[0].lengths} lengths), {size}: "
        + ", ".join(f"n^{fit.exponent:.2f} ({fit.side})" for fit in several)
        for (size, value), several in grouped.items()
    ]


HEAD = ("Model", "Input", "Output", "What", "Here, better by", "Paper")


def head(results: ClaimResults) -> tuple[str, ...]:
    """Column titles: the sides' medians stand between what is measured and the ratio."""
    return (*HEAD[:4], *results.sides, *HEAD[4:])


def rows(claim: Claim, results: ClaimResults) -> Iterator[tuple[str, ...]]:
    """One row a value of every point."""
    by_name = {statement.value: statement for statement in claim.statements}
    for point in results.points:
        for value in point.values:
            statement = by_name.get(value.name)
            yield (
                str(point.at.get("size", "")),
                str(point.at.get("input", "")),
                str(value.at.get("output", "")),
                value.name,
                *(f"{number(value.medians[side])} {value.unit}" for side in results.sides),
                better(value, _words(value, statement)),
                statement.says if statement else "",
            )


def _words(value: Value, statement: Statement | None) -> str:
    if statement:
        return statement.words
    return "lower" if value.better == "lower" else "times"


def number(figure: float) -> str:
    """Three significant digits, never an exponent."""
    if figure >= 100:  # noqa: PLR2004 - three digits before the point
        return f"{figure:,.0f}"
    return f"{figure:.2f}" if figure < 10 else f"{figure:.1f}"  # noqa: PLR2004 - as above


def conditions(results: ClaimResults) -> list[str]:
    """What a reader must know of how it was measured."""
    machine = results.environment
    loads = [point.load_average for point in results.points if point.load_average is not None]
    packages = ", ".join(
        f"{name} {machine.packages[name]}" for name in ("onnxruntime", "torch") if name in machine.packages
    )
    precisions = sorted({str(point.at.get("precision", "")) for point in results.points})
    days = sorted({point.measured_on for point in results.points})
    rounds = sorted({value.rounds for point in results.points for value in point.values})
    lines = [
        (
            f"{machine.cpu_model}, {machine.cores} cores, {machine.threads} used, {', '.join(precisions)}; {packages}; "
            f"{', '.join(days)}"
        ),
        (
            f"medians of {' or '.join(map(str, rounds))} rounds, both models in turn in one process; in brackets the "
            "95 % interval of the median ratio (from 6 rounds on)"
        ),
    ]
    if loads:
        lines.append(
            f"load average of the machine when a point began: {min(loads):.1f} to {max(loads):.1f}"
            + (
                " (other work ran at the same time: times are longer than on an idle machine, intervals wider)"
                if max(loads) > machine.cores
                else ""
            )
        )
    lines += [f"{name}: {fact}" for name, fact in results.facts.items()]
    lines += [f"growth with length, {line}" for line in growth(results)]
    return lines + results.notes
