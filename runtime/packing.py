"""Texts of several lengths in rows of one length, so that padding is not computed.

Texts are placed longest first, each into the first row that has room for it (first fit decreasing, which takes at
most 11/9 of the fewest rows possible and a constant; D. Johnson, 1973). A graph that is told which text each token
belongs to, and lets no token see another text's, gives for each what it gives alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import UsageError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Seat:
    """Where a text lies.

    Attributes:
        row: Which row.
        begin: Its first token's place.
        length: Tokens.
        number: 1 for the row's first text, and so on.
    """

    row: int
    begin: int
    length: int
    number: int


def seats(lengths: Sequence[int], width: int) -> list[Seat]:
    """A seat for every text, in the order of `lengths`, in rows of `width` tokens.

    Raises:
        UsageError: A text is empty or longer than a row.
    """
    used: list[int] = []
    count: list[int] = []
    found: dict[int, Seat] = {}
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        if not 0 < length <= width:
            raise UsageError(
                f"Text {index} has {length} tokens, and rows have {width}",
                where="packing",
                todo="Give texts of at least one token that a row has room for",
            )
        row = next((row for row, filled in enumerate(used) if filled + length <= width), len(used))
        if row == len(used):
            used.append(0)
            count.append(0)
        count[row] += 1
        found[index] = Seat(row, used[row], length, count[row])
        used[row] += length
    return [found[index] for index in range(len(lengths))]


def packed(texts: Sequence[Mapping[str, np.ndarray]], width: int) -> tuple[dict[str, np.ndarray], list[Seat]]:
    """Inputs of a call on rows of texts.

    Args:
        texts: Of each, its inputs by name: vectors with one number a token.
        width: Tokens of a row.

    Returns:
        The inputs by name [rows, width], filled with zeros, and "text" beside them: the number of the text in its
        row that each token belongs to, 0 for none. Then every text's seat, for `unpacked`.

    Raises:
        UsageError: As `seats`, or there is no text.
    """
    import numpy as np

    if not texts:
        raise UsageError("There is no text to pack", where="packing", todo="Give at least one")
    places = seats([len(next(iter(text.values()))) for text in texts], width)
    shape = (1 + max(seat.row for seat in places), width)
    rows = {name: np.zeros(shape, values.dtype) for name, values in texts[0].items()}
    rows["text"] = np.zeros(shape, np.int64)
    for text, seat in zip(texts, places, strict=True):
        here = (seat.row, slice(seat.begin, seat.begin + seat.length))
        for name, values in text.items():
            rows[name][here] = values
        rows["text"][here] = seat.number
    return rows, places


def unpacked(output: np.ndarray, places: Sequence[Seat]) -> list[np.ndarray]:
    """What an output [rows, width, ...] says of every text, [tokens, ...] each."""
    return [output[seat.row, seat.begin : seat.begin + seat.length] for seat in places]
