"""The journal beside the output folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.toolchain import journal
from edgepack.toolchain.errors import BundleError, UsageError


def test_a_run_is_noted_and_forgotten(tmp_path: Path) -> None:
    out = tmp_path / "build" / "out"
    assert journal.journal_read(out) is None
    run = journal.journal_start(out, {"target": ["cpu"], "model": "m"})
    for stage in ("export", "lower", "export"):
        run = journal.journal_stage(out, run, stage)
    assert journal.journal_read(out) == journal.Journal(
        {"target": ["cpu"], "model": "m"}, ("export", "lower")
    )
    assert [entry.name for entry in out.parent.iterdir()] == [".out.run.json"]
    journal.journal_end(out)
    journal.journal_end(out)
    assert journal.journal_read(out) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 2}', '{"format": 1, "recipe": [], "stages": []}']
)
def test_a_damaged_journal_says_what_to_do(tmp_path: Path, text: str) -> None:
    journal.journal_path(tmp_path / "out").write_text(text)
    with pytest.raises(BundleError, match="without --resume"):
        journal.journal_read(tmp_path / "out")


def test_an_unwritable_folder(read_only_folder: Path) -> None:
    with pytest.raises(UsageError, match="journal of the run cannot be written"):
        journal.journal_start(read_only_folder / "out", {})
