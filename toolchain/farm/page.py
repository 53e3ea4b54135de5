"""farm.html, farm.csv and farm.json: device by model by precision, and what became worse."""

from __future__ import annotations

import csv
import html as markup
import io
import json
from pathlib import Path

from edgepack.toolchain import files
from edgepack.toolchain.devices.shown import PLANS
from edgepack.toolchain.farm.results import BAD, FarmReport, FarmResult
from edgepack.toolchain.report import bars, cells, text
from edgepack.toolchain.report.bars import Bar, Figure
from edgepack.toolchain.report.cells import Cell, Table, table
from edgepack.toolchain.report.document import rendered
from edgepack.toolchain.report.machine import finite

CSV_FILE, JSON_FILE, PAGE_FILE = "farm.csv", "farm.json", "farm.html"
TEMPLATE = Path(__file__).parent / "templates" / "farm.html"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet runs


def write(report: FarmReport, folder: Path) -> None:
    """Write the three files.

    Raises:
        UsageError: The folder cannot be written.
    """
    with files.storage_errors("The report cannot be written", folder, "Choose another folder with --out"):
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / JSON_FILE, machine(report))
        files.write_text(folder / CSV_FILE, comma_separated(report))
        (folder / PAGE_FILE).write_bytes(html(text.cleaned(report)))


def machine(report: FarmReport) -> str:
    """The text of farm.json, in one line."""
    return json.dumps(finite(report.model_dump()), allow_nan=False) + "\n"


def comma_separated(report: FarmReport) -> str:
    """One line a result under the names of its fields; texts that a spreadsheet would run begin with a quote."""
    out = io.StringIO()
    names = list(FarmResult.model_fields)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", *names])
    for one in report.results:
        values = [getattr(one, name) for name in names]
        writer.writerow([report.run, *("" if value is None else _plain(value) for value in values)])
    return out.getvalue()


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def html(report: FarmReport) -> bytes:
    """The page in UTF-8; `report` must have gone through `text.cleaned`."""
    figures = [
        _figure(f"bundle-{index}", name, [one for one in report.results if one.bundle == name])
        for index, name in enumerate(dict.fromkeys(one.bundle for one in report.results))
    ]
    drawn = [figure for figure in figures if figure is not None]
    view = {
        "report": report,
        "sentences": sentences(report),
        "tables": [compared(report), where_measured(report)],
        "figures": drawn,
    }
    return rendered(TEMPLATE, view, drawn)


def _figure(id_: str, bundle: str, results: list[FarmResult]) -> Figure | None:
    rows = []
    for one in results:
        if one.p50_ms is None:
            continue
        said = text.milliseconds(one.p50_ms)
        label = f"{one.device}: {_what(one)}"
        hover = markup.escape(f"{label}: {said}")
        rows.append(Bar(label, one.p50_ms, said, hover, low=one.ci_low_ms, high=one.ci_high_ms))
    if not rows:
        return None
    return bars.figure(
        id_, bundle, "Median of a call, with its 95 % interval", rows, "milliseconds", kind="measured"
    )


def _what(one: FarmResult) -> str:
    unit = "" if one.unit == "main" else one.unit
    where = "" if one.plan in {"", "as-is"} else PLANS.get(one.plan, one.plan)
    return " ".join(filter(None, (one.target, one.precision, unit, where))) or "everything"


def compared(report: FarmReport) -> Table:
    """Every result beside the last good one."""
    emulated = any(one.emulated for one in report.results)
    rows = [
        [
            cells.name(one.bundle),
            Cell(_what(one)),
            cells.name(one.device, one.emulated),
            _median(one),
            cells.time(one.p90_ms),
            cells.size(one.peak_bytes),
            *([cells.number(one.instructions, _millions(one.instructions))] if emulated else []),
            _before(one),
            _verdict(one),
        ]
        for one in sorted(report.results, key=lambda one: (one.bundle, _what(one), one.device))
    ]
    head = (
        "Model", "Form", "Device", "#Median", "#p90", "#Peak memory", *(["#Instructions"] if emulated else []),
        "#Last good", "Verdict",
    )  # fmt: skip
    return table("compared", "Every device and form", head, rows)


def _median(one: FarmResult) -> Cell:
    if one.error:
        return cells.missing(one.error)
    if one.emulated:
        return cells.missing("emulated: nothing was timed")
    note = ""
    if one.ci_low_ms is not None and one.ci_high_ms is not None:
        note = f"{text.milliseconds(one.ci_low_ms)} to {text.milliseconds(one.ci_high_ms)}"
    return cells.time(one.p50_ms, note)


def _before(one: FarmResult) -> Cell:
    if one.emulated and one.before_instructions is not None:
        return cells.number(
            one.before_instructions, _millions(one.before_instructions), one.before_created or ""
        )
    return cells.time(one.before_ms, one.before_created or "")


def _millions(count: float | None) -> str:
    return "" if count is None else f"{text.significant(count / 1e6)} M"


def _verdict(one: FarmResult) -> Cell:
    tone: cells.Tone = "bad" if one.verdict in BAD or one.error else "good" if one.verdict == "faster" else ""
    return Cell(one.verdict, one.why, tone=tone)


def where_measured(report: FarmReport) -> Table:
    """The devices."""
    first = {one.device: one for one in reversed(report.results) if not one.error}
    rows = [
        [cells.name(name), Cell(one.cpu_model), Cell(one.system), Cell(one.runtime), Cell(one.settings)]
        for name, one in sorted(first.items())
    ]
    return table("devices", "Devices", ("Device", "Processor", "System", "Runtime", "Settings"), rows)


def sentences(report: FarmReport) -> list[str]:
    """What stands out."""
    found = [f"{one.bundle} on {one.device}, {_what(one)}: {one.verdict}, {one.why}" for one in report.worse]
    new = [one for one in report.failed if one.verdict == "no figure"]
    found += [f"{one.bundle} on {one.device} gave no figure: {one.error}" for one in new]
    emulated = {one.device: one.emulated for one in report.results if one.emulated}
    if not found:
        found.append(f"Nothing is worse than before by more than {100 * report.tolerance:g} %")
    found += [
        f"{name} is emulated ({what}): instructions, no times" for name, what in sorted(emulated.items())
    ]
    return found
