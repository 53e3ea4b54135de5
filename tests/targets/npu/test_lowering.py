"""The bars of real models on Ethos-U85 after the rewrites: placement and quality together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.targets.npu.lowered import Row, efficientnet_on, minilm_on

pytestmark = [pytest.mark.slow]
U85 = "npu:ethos-u85-512"


@pytest.fixture(scope="module")
def minilm_row(minilm: Path, sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> Row:
    folder = tmp_path_factory.mktemp("minilm")
    return minilm_on(minilm, sentences, folder).row(U85, folder)


def test_minilm_is_placed(minilm_row: Row) -> None:
    assert minilm_row.macs_share >= 0.99
    assert minilm_row.placed / minilm_row.operators >= 0.98
    assert any("13 x layer norm" in note for note in minilm_row.rewrites)
    assert any("6 x gelu" in note for note in minilm_row.rewrites)


def test_minilm_keeps_its_meaning(minilm_row: Row) -> None:
    assert minilm_row.judged == 160
    assert minilm_row.cosine >= 0.99
    assert minilm_row.min_cosine >= 0.99
    assert minilm_row.same >= 0.95


def test_efficientnet(photos: list[np.ndarray], tmp_path: Path) -> None:
    row = efficientnet_on(photos, tmp_path).row(U85, tmp_path)
    assert (row.placed, row.macs_share) == (row.operators, 1)
    assert row.cosine >= 0.99
