# ruff: noqa: INP001 - a script, not a package
"""Runs onnx's shipped test cases and writes what passes: expected.json of the tests, the table in docs/onnx.md.

    python tools/onnx_cases_table.py            run, write both
    python tools/onnx_cases_table.py --table    write the table from expected.json, without running

A case whose outputs edgepack changed is a bug: it is printed and never written to the list.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgepack.toolchain import markdown  # noqa: E402 - as below
from tests.exporters.onnx_cases import harness  # noqa: E402 - the tests are no package that is installed

EXPECTED = ROOT / "tests/exporters/onnx_cases/expected.json"
DOCS = ROOT / "docs/onnx.md"
PLACE = markdown.Place("<!-- cases: written by tools/onnx_cases_table.py -->", "<!-- /cases -->")


def run() -> dict[str, dict[str, str]]:
    """Group -> case -> class of reason, for every case that does not pass."""
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for group in harness.GROUPS:
            for case in harness.cases(group):
                message = harness.outcome(case, Path(folder))
                if not message:
                    continue
                reason = harness.reason(message)
                if reason in harness.WORDS:
                    found.setdefault(group, {})[case.name] = reason
                else:
                    sys.stderr.write(f"{group}/{case.name}: {message}\n")
    return found


def table(expected: dict[str, dict[str, str]], totals: dict[str, int]) -> str:
    """Counts by group: cases, those that pass, those that do not by reason."""
    head = ("", *harness.GROUPS)
    rows = [
        ("cases", *(str(totals[group]) for group in harness.GROUPS)),
        (
            "**pass**",
            *(f"**{totals[group] - len(expected.get(group, {}))}**" for group in harness.GROUPS),
        ),
    ]
    counts = {group: Counter(expected.get(group, {}).values()) for group in harness.GROUPS}
    for reason, words in harness.WORDS.items():
        numbers = [counts[group][reason] for group in harness.GROUPS]
        if any(numbers):
            rows.append((words, *(str(number or "") for number in numbers)))
    return markdown.table(head, rows, right=range(1, len(head)))


def main(arguments: list[str]) -> None:
    """Run, and write the list and the table."""
    if "--table" not in arguments:
        EXPECTED.write_text(json.dumps(run(), indent=1, sort_keys=True) + "\n")
    totals = {group: sum(1 for _ in harness.cases(group)) for group in harness.GROUPS}
    PLACE.write(table(json.loads(EXPECTED.read_text()), totals), [DOCS])


if __name__ == "__main__":
    main(sys.argv[1:])
