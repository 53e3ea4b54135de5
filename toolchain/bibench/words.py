"""The table in words: rows that terminal, Markdown and page share. A figure that is missing is a dash with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgepack.toolchain.bibench.overall import TRACKS
from edgepack.toolchain.bibench.results import BASELINE, BibenchResults, Cell, Timing
from edgepack.toolchain.report import text

NONE = "-"


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes:
        id: For the page.
        title: Its heading.
        note: What its figures are.
        head: The columns' titles.
        rows: As many cells each.
    """

    id: str
    title: str
    note: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def sections(results: BibenchResults) -> list[Section]:
    """All tables, the overall metrics first."""
    return [
        _overall(results),
        _by_cell(
            results,
            "accuracy",
            "Accuracy on the test data",
            "percent; in brackets of fp32's" + _chance(results),
            _accuracy,
        ),
        _corruption(results),
        _by_cell(
            results,
            "training",
            "Training cost",
            "CPU seconds on one thread, measured, and MiB that a step holds, counted; in brackets times fp32's",
            _training,
        ),
        _by_cell(
            results,
            "complexity",
            "Theoretical complexity",
            "millions of multiply-adds on bits + in float32 for one input; how many times fewer operations (64 bits in "
            "one), and times fewer bits of parameters; counted",
            _complexity,
        ),
        _inference(results),
    ]


def reasons(results: BibenchResults) -> list[str]:
    """Why figures are missing, each once."""
    found: list[str] = []
    for cell in results.cells:
        where = f"{cell.task}, {cell.architecture}, {cell.method}"
        if cell.rate_factor != 1:
            where += f", learning rate x {cell.rate_factor:.2g}"
        if cell.missing:
            found.append(f"{where}: {cell.missing}")
        if cell.not_exported:
            found.append(f"{where}, inference: {cell.not_exported}")
    found += [f"{one.task}, {one.architecture}, inference: {one.reason}" for one in results.not_timed]
    for one in results.overall:
        found += [f"{one.method}, {track}: {why}" for track, why in one.missing.items()]
        found += [f"{one.method}, {note}" for note in one.notes]
    return list(dict.fromkeys(found))


def conditions(results: BibenchResults) -> list[str]:
    """What a reader must know of how it was made."""
    machine = results.environment
    lines = [
        f"{machine.cpu_model}, {machine.cores} cores, {machine.threads} used; "
        + ", ".join(
            f"{name} {machine.packages[name]}"
            for name in ("torch", "onnxruntime")
            if name in machine.packages
        )
    ]
    if results.kernels:
        lines.append(
            f"native kernels that this processor runs, the first is used: {', '.join(results.kernels)}"
        )
    else:
        lines.append(f"no native kernels, functions of ordinary operators ran instead: {results.no_kernels}")
    for name, title in results.tasks.items():
        count = results.samples.get(name)
        counted = f"; {count[0]:,} training and {count[1]:,} test examples" if count else ""
        lines.append(f"{name}: {title}{counted}")
    trained = next((cell.training for cell in results.cells if cell.training), None)
    if trained:
        lines.append(
            f"every network trained from scratch, {trained.steps:,} batches of {trained.batch}, one seed"
        )
    if not results.full:
        lines.append(
            "the reduced table: networks and trainings are so small that it shows costs, and ranks no method"
        )
    if results.load_average:
        begin, end = results.load_average
        lines.append(
            f"load average of the machine at the beginning and end of the run: {begin:.1f} and {end:.1f}"
        )
    return lines


def names(results: BibenchResults) -> list[str]:
    """Rows of a table: fp32, then the methods."""
    return [BASELINE, *(method.name for method in results.methods)]


def columns(results: BibenchResults) -> list[tuple[str, str]]:
    """Task and architecture of every cell, in order."""
    return list(dict.fromkeys(cell.at for cell in results.cells))


def cell_of(results: BibenchResults, method: str, at: tuple[str, str]) -> Cell | None:
    """The cell with the learning rate as it is."""
    return next((c for c in results.cells if c.method == method and c.at == at and c.rate_factor == 1), None)


def _overall(results: BibenchResults) -> Section:
    def number(value: float | None) -> str:
        return NONE if value is None else f"{value:.2f}"

    papers = {method.name: method.paper for method in results.methods}
    rows = [
        (one.method, papers.get(one.method, ""), *(number(one.tracks.get(track)) for track in TRACKS))
        for one in results.overall
    ]
    return Section(
        "overall",
        "Overall metrics",
        "BiBench's, a quadratic mean of ratios to fp32 for each track: fp32 is 1, more is better",
        ("Method", "Paper", *TRACKS),
        rows,
    )


def _by_cell(
    results: BibenchResults, id_: str, title: str, note: str, shown: Callable[[Cell, Cell | None], str]
) -> Section:
    places = columns(results)
    rows = []
    for name in names(results):
        words = []
        for at in places:
            cell, baseline = cell_of(results, name, at), cell_of(results, BASELINE, at)
            words.append(shown(cell, None if name == BASELINE else baseline) if cell else NONE)
        rows.append((name, *words))
    return Section(id_, title, note, ("Method", *map(", ".join, places)), rows)


def _chance(results: BibenchResults) -> str:
    said = ", ".join(f"{name} {100 * share:.1f}" for name, share in results.chance.items())
    return f"; the most frequent class alone: {said}" if said else ""


def _accuracy(cell: Cell, baseline: Cell | None) -> str:
    if cell.accuracy is None:
        return NONE
    share = f" ({100 * cell.accuracy / baseline.accuracy:.0f} %)" if baseline and baseline.accuracy else ""
    return f"{100 * cell.accuracy:.1f}{share}"


def _training(cell: Cell, baseline: Cell | None) -> str:
    if cell.training is None:
        return NONE
    held = cell.training.bytes / 2**20
    if baseline is None or baseline.training is None:
        return f"{cell.training.cpu_seconds:.1f} s, {held:.1f} MiB"
    times = cell.training.cpu_seconds / baseline.training.cpu_seconds
    more = cell.training.bytes / baseline.training.bytes
    return f"{cell.training.cpu_seconds:.1f} s ({times:.1f}), {held:.1f} MiB ({more:.1f})"


def _complexity(cell: Cell, baseline: Cell | None) -> str:
    count = cell.complexity
    if count is None:
        return NONE
    operations = f"{count.binary_macs / 1e6:.2f} + {count.float_macs / 1e6:.2f} M"
    if baseline is None:
        return f"{operations}, {count.float_parameters:,} parameters"
    return f"{operations}, {count.operation_ratio:.1f}x, {count.storage_ratio:.1f}x"


def _corruption(results: BibenchResults) -> Section:
    kinds = list(
        dict.fromkeys(point.name for cell in results.cells for point in cell.corrupted if point.severity)
    )
    overall = {one.method: one for one in results.overall}
    rows = []
    for name in names(results):
        cells = [cell for cell in results.cells if cell.method == name and cell.corrupted]
        means = []
        for kind in ("none", *kinds):
            found = [point.accuracy for cell in cells for point in cell.corrupted if point.name == kind]
            means.append(f"{100 * sum(found) / len(found):.1f}" if found else NONE)
        one = overall.get(name)
        errors = [one.corruption_error, one.relative_corruption_error] if one else [1.0, 1.0]
        rows.append((name, *means, *(NONE if e is None else f"{e:.2f}" for e in errors)))
    return Section(
        "corruption",
        "Corruption robustness",
        "accuracy in percent, mean over severities and the networks for images; mCE and relative mCE of Hendrycks and "
        "Dietterich, in which fp32 is 1 and less is better",
        ("Method", "not corrupted", *kinds, "mCE", "relative mCE"),
        rows,
    )


def _inference(results: BibenchResults) -> Section:
    timed = {(t.task, t.architecture, t.method): t for t in results.timings}
    places = columns(results)
    rows = [
        (name, *(_timed(cell_of(results, name, at), timed.get((*at, name))) for at in places))
        for name in names(results)
    ]
    return Section(
        "inference",
        "Hardware inference, here",
        "one input a call on one thread in ONNX Runtime, all methods and fp32 in turn in one process: median time, how "
        "many times as fast as fp32 with the 95 % interval, and the file's size",
        ("Method", *map(", ".join, places)),
        rows,
    )


def _timed(cell: Cell | None, timing: Timing | None) -> str:
    if cell is None or cell.artifact is None:
        return NONE
    size = text.size(cell.artifact.size_bytes)
    if timing is None:
        return f"{NONE}, {size}"
    time = f"{timing.latency.p50_ms:.3f} ms"
    against = timing.against_fp32
    if against is None:
        return f"{time}, {size}"
    return f"{time}, {against.ratio:.2f}x [{against.ci_low:.2f}, {against.ci_high:.2f}], {size}"


def sentences(results: BibenchResults) -> Iterator[str]:
    """What the table comes to."""
    done = [cell for cell in results.cells if cell.accuracy is not None]
    yield (
        f"{len(done)} of {len(results.cells)} networks trained; methods beside {BASELINE}: {len(results.methods)}, "
        f"tasks: {len(results.tasks)}."
    )
