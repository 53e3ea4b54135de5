"""Whatever a file says, ONNX Runtime with the library computes it correctly or refuses it in words, and lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.kernels.odd_models import CHANGES, Draft, odd_draft

COUNT = 500
ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_odd_files_are_computed_or_refused(library: Path) -> None:
    """In a process of its own, whose end by a signal is seen as what it is."""
    command = [sys.executable, "-m", "tests.runtime.kernels.odd_models", "40", str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    computed, refused = map(int, done.stdout.split())
    assert computed + refused == COUNT
    assert min(computed, refused) > COUNT // 4


def test_the_drafts_differ_and_stay_the_same() -> None:
    drafts = [odd_draft(41, number) for number in range(200)]
    contents = [draft.model().SerializeToString() + draft.x.tobytes() for draft in drafts]
    assert len(set(contents)) == len(contents)
    assert contents[7] == odd_draft(41, 7).model().SerializeToString() + odd_draft(41, 7).x.tobytes()


def test_a_crash_would_be_seen(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import ctypes; ctypes.string_at(0)"], check=False, capture_output=True
    )
    assert done.returncode < 0


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_every_change_is_one(change) -> None:
    """Each makes something else of some draft, so none of them is dead."""
    rng = np.random.default_rng(42)
    for number in range(40):
        draft = odd_draft(43, number)
        before = _content(draft)
        change(draft, rng)
        if _content(draft) != before:
            return
    raise AssertionError(change.__name__)


def _content(draft: Draft) -> bytes:
    return draft.model().SerializeToString() + draft.x.tobytes() + str(draft.x.shape).encode()
