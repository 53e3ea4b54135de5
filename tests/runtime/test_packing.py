"""Texts in rows: none lost, none over another, few rows."""

import numpy as np
import pytest

from edgepack.runtime.packing import packed, seats, unpacked
from edgepack.toolchain.errors import UsageError


def test_no_text_lies_over_another_and_rows_are_few():
    lengths = np.random.default_rng(0).integers(1, 33, 200).tolist()
    places = seats(lengths, 32)
    taken = np.zeros((1 + max(seat.row for seat in places), 32), int)
    for seat, length in zip(places, lengths, strict=True):
        assert seat.length == length
        taken[seat.row, seat.begin : seat.begin + length] += 1
    assert taken.max() == 1
    assert len(taken) <= 11 / 9 * np.ceil(sum(lengths) / 32) + 1


def test_what_is_packed_comes_out_again():
    texts = [{"ids": np.arange(n) + 10 * n} for n in (3, 1, 4)]
    rows, places = packed(texts, 4)
    assert rows["text"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 2]]
    for text, ids in zip(texts, unpacked(rows["ids"], places), strict=True):
        assert ids.tolist() == text["ids"].tolist()


@pytest.mark.parametrize(("lengths", "why"), [((3, 5), "Text 1 has 5 tokens"), ((0,), "Text 0 has 0 tokens")])
def test_a_text_that_no_row_has_room_for(lengths, why):
    with pytest.raises(UsageError, match=why):
        packed([{"ids": np.zeros(n)} for n in lengths], 4)


def test_no_text():
    with pytest.raises(UsageError, match="no text"):
        packed([], 4)
