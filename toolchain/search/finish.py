"""From trials to results: fronts, hypervolumes, the predictors' check, the points confirmed, and the one chosen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.runtime import environment
from edgepack.toolchain.assignment import write_assignment
from edgepack.toolchain.pipeline import assembling, judging, measuring
from edgepack.toolchain.search import page, predict
from edgepack.toolchain.search.fronts import front, hypervolume
from edgepack.toolchain.search.measure import assignment, interval
from edgepack.toolchain.search.results import (
    Confirmed,
    GroupFacts,
    Point,
    Predictors,
    SearchResults,
    Side,
    SideResult,
)
from edgepack.toolchain.search.subject import PRECISION, named_model
from edgepack.toolchain.search.trials import BROKEN, COPY, DISCARDED, START, points

if TYPE_CHECKING:
    from edgepack.toolchain.search.measure import Bench
    from edgepack.toolchain.search.settings import Settings
    from edgepack.toolchain.search.store import Store

    Listener = Callable[[int, int, str], object]
    Triple = tuple[float, float, float]

RESULTS_FILE, PAGE_FILE, ASSIGN_FILE = "search.json", "search.html", "chosen.json"
MOST_CONFIRMED = 6
_MARGIN = 0.1  # by which the reference point lies beyond the worst that passed
_CONFIRM_S = 2.0  # for every point that is timed


def finish(
    folder: Path, settings: Settings, bench: Bench, store: Store, listener: Listener = lambda *_: None
) -> SearchResults:
    """Write search.json, search.html and the chosen assignment; returns what they hold."""
    measured = {side: points(store, side) for side in ("uniform", "search", "random")}
    everything = [point for side in measured.values() for point in side]
    passed = [point for point in everything if point.measured.parity.passed]
    lowest, reference = bounds(passed)
    sides = [_side(store, side, measured, settings, lowest, reference) for side in ("search", "random")]
    best = [passed[i] for i in front([point.values for point in passed])]
    best.sort(key=lambda point: point.measured.latency)
    listener(2 * settings.trials, 2 * settings.trials, f"{len(best)} points on the front are timed together")
    confirmed = _confirm(bench, best[:MOST_CONFIRMED])
    chosen = _chosen(best, confirmed)
    bench.float_session()
    subject = bench.subject(bench.largest)
    results = SearchResults(
        edgepack=metadata.version("edgepack"),
        model=settings.recipe.model,
        target=settings.recipe.targets[0],
        part=subject.builder.part.name,
        command=_command(folder, settings),
        sampler=settings.sampler,
        trials=settings.trials,
        metric=settings.recipe.metric or "cosine",
        gate=subject.gate,
        groups=[
            GroupFacts(name=g.name, nodes=list(g.nodes), forms=list(g.forms)) for g in subject.mixer.groups
        ],
        choices=settings.choices,
        points=everything,
        sides=sides,
        reference=reference,
        better=_better(*(side.hypervolume for side in sides)),
        predictors=_predictors(settings, store, [*measured["uniform"], *measured["search"]]),
        front=[point.label for point in best],
        confirmed=confirmed,
        chosen=chosen.label if chosen else None,
        export_command=_export(folder, settings, bench, chosen),
        fp32_bytes=bench.float_bytes,
        seconds=_wall_clock(store),
        calibration=subject.data.facts,
        environment=environment.capture(threads=settings.recipe.threads, spinning=False),
        settings=settings.model_dump(mode="json"),
        notes=_notes(settings, measured, sides),
    )
    (folder / RESULTS_FILE).write_text(results.model_dump_json(indent=1), encoding="utf-8")
    (folder / PAGE_FILE).write_bytes(page.html(results))
    return results


def bounds(passed: Sequence[Point]) -> tuple[Triple, Triple]:
    """The best of each objective among what passed, and a reference point a tenth beyond the worst."""
    if not passed:
        return (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    columns = list(zip(*(point.values for point in passed), strict=True))
    low = [min(column) for column in columns]
    high = [max(column) + _MARGIN * ((max(column) - min(column)) or 1.0) for column in columns]
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def volume(passed: Sequence[Point], lowest: Triple, reference: Triple) -> float:
    """Hypervolume in units in which the box between `lowest` and `reference` is 1."""
    spans = [r - low for low, r in zip(lowest, reference, strict=True)]
    if not all(spans):
        return 0.0
    scaled = [
        [(x - low) / span for x, low, span in zip(p.values, lowest, spans, strict=True)] for p in passed
    ]
    return hypervolume(scaled, (1.0, 1.0, 1.0))


def _side(
    store: Store,
    side: Side,
    measured: dict[str, list[Point]],
    settings: Settings,
    lowest: Triple,
    reference: Triple,
) -> SideResult:
    own = measured[side]
    start = [point for point in measured["uniform"] if point.measured.parity.passed]
    convergence, seen, best = [], list(start), volume(start, lowest, reference)
    for point in own:
        if point.measured.parity.passed:
            seen.append(point)
        # A volume only grows; the order of its sum may take a last digit away.
        best = max(best, volume(seen, lowest, reference))
        convergence.append(best)
    trials = store.trials(side)
    failed = sum(1 for trial in trials if BROKEN in trial.user_attrs)
    fit = [point for point in own if point.measured.parity.passed]
    return SideResult(
        side=side,
        sampler=settings.sampler if side == "search" else "random",
        trials=len(own),
        failed=failed,
        repeated=sum(1 for t in trials if COPY in t.user_attrs and START not in t.user_attrs),
        seconds=sum(point.measured.seconds for point in own),
        hypervolume=best if seen else None,
        convergence=convergence,
        front=[fit[i].number for i in front([point.values for point in fit])],
    )


def _better(search: float | None, random: float | None) -> str:
    if search is None or random is None:
        return "unknown"
    if search == random:
        return "equal"
    return "search" if search > random else "random"


def _predictors(settings: Settings, store: Store, learned: list[Point]) -> Predictors:
    found = predict.checks(learned)
    return Predictors(
        used=settings.predict and any(check.pairs for check in found),
        switched_off=predict.switched_off(learned),
        checks=found,
        discard_rate=predict.DISCARD,
        discarded=sum(1 for trial in store.trials("search") if DISCARDED in trial.user_attrs),
    )


def _confirm(bench: Bench, best: Sequence[Point]) -> list[Confirmed]:
    """Build these points once more and time them in turns: the best of many noisy timings flatters itself."""
    if not best:
        return []
    with contextlib.ExitStack() as stack:
        runs = {}
        for point in best:
            subject = bench.subject(point.choices)
            scratch = stack.enter_context(bench.scratch())
            path, _ = bench.build(subject, point.forms, scratch)
            session = stack.enter_context(
                judging.open_session(
                    subject.target.session, path, subject.base.signature, bench.settings.recipe.threads
                )
            )
            feed = measuring.feed(subject.builder, subject.base.signature)
            runs[point.label] = lambda session=session, feed=feed: session.run(feed)
        seconds = max(_CONFIRM_S, bench.settings.timing_s) * (len(runs) + 1)
        timed = bench.time_together(runs, seconds)
    return [
        Confirmed(
            label=label,
            latency=1 / found.ratio,
            latency_low=interval(found)[0],
            latency_high=interval(found)[1],
            rounds=found.rounds,
            verdict=found.verdict,
        )
        for label, found in timed.items()
    ]


def _chosen(best: Sequence[Point], confirmed: Sequence[Confirmed]) -> Point | None:
    """The fastest that passed, by the times of the last round."""
    by_label = {point.label: point for point in best}
    ranked = sorted(confirmed, key=lambda entry: entry.latency)
    return by_label[ranked[0].label] if ranked else None


def _export(folder: Path, settings: Settings, bench: Bench, chosen: Point | None) -> str | None:
    """The command that builds the chosen point as a bundle; its assignment is written beside the results."""
    if chosen is None:
        return None
    subject = bench.subject(chosen.choices)
    assign = assignment(subject, chosen.forms)
    recipe = settings.recipe.model_copy(update={"model": named_model(settings.recipe.model, chosen.choices)})
    if not assign:
        return assembling.command(recipe.model_copy(update={"precision": "fp32"}))
    path = folder / ASSIGN_FILE
    parts: dict[str, dict[str, str]] = {name: {} for name in subject.builder.program.parts}
    write_assignment(path, parts | {subject.builder.part.name: assign})
    return assembling.command(recipe.model_copy(update={"precision": PRECISION, "assign": str(path)}))


def _command(folder: Path, settings: Settings) -> str:
    """What to type to make this search again."""
    words = assembling.command(settings.recipe.model_copy(update={"out": str(folder)}))
    words = words.replace("edgepack export", "edgepack search", 1)
    words += f" --trials {settings.trials} --sampler {settings.sampler} --seed {settings.seed}"
    words += f" --timing {settings.timing_s:g}" + ("" if settings.predict else " --no-predict")
    return words + (f" --part {settings.part}" if settings.part else "")


def _wall_clock(store: Store) -> float:
    """Seconds in which some trial was under way, of all processes and runs."""
    spans = sorted(
        (trial.datetime_start.timestamp(), trial.datetime_complete.timestamp())
        for side in ("uniform", "search", "random")
        for trial in store.trials(side)
        if trial.datetime_start and trial.datetime_complete and trial.state.name == "COMPLETE"
    )
    total, until = 0.0, 0.0
    for start, end in spans:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def _notes(settings: Settings, measured: dict[str, list[Point]], sides: Sequence[SideResult]) -> list[str]:
    notes = []
    if any(len(measured[side.side]) + side.failed < settings.trials for side in sides):
        notes.append(
            "a side has fewer candidates than were asked for: the time limit came, or there are no more"
        )
    if settings.choices and settings.predict:
        notes.append(
            "sub-networks differ in more than precision: nothing was predicted, every proposal was measured"
        )
    if not any(point.measured.parity.passed for side in measured.values() for point in side):
        notes.append("nothing passed the gate")
    return notes
