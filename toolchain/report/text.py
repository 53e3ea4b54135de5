"""Words for numbers, and taking the sting out of text that models and vendors' tools wrote.

A figure that was not obtained is an em dash, never a zero. Cosines and shares are cut, not
rounded, so that a value just below its gate never reads as the gate itself.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel

    M = TypeVar("M", bound=BaseModel)

DASH = "—"
TIMES = "\N{MULTIPLICATION SIGN}"
_KIBI = 1024
_TIMES_PLAIN = (0.1, 10)  # speed-ups with two places; beyond them, three significant digits
_NEARLY_ONE = 0.9999
_SECONDS_FROM_MS, _MICROSECONDS_BELOW_MS = 10_000, 0.01
_SMALLEST_PLAIN_EXPONENT = -4

# Control characters (terminal escapes among them), characters that reorder or hide text, line
# separators, and lone surrogates, which no UTF-8 file can hold.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def clean(text: str) -> str:
    """The text with its invisible, reordering and control characters written out as escapes."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def cleaned(model: M) -> M:
    """A copy of a pydantic model in which every string, keys included, went through `clean`."""
    return type(model).model_validate(_clean_all(model.model_dump()))


def _clean_all(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key) if isinstance(key, str) else key: _clean_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean_all(item) for item in value]
    return value


def significant(value: float, digits: int = 3) -> str:
    """A number to so many significant digits, thousands grouped, without an exponent from 1e-4 up."""
    if not math.isfinite(value):
        return str(value).replace("nan", "NaN")
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if exponent < _SMALLEST_PLAIN_EXPONENT:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - exponent)}f}"


def milliseconds(value: float | None) -> str:
    """A time given in milliseconds, in the unit that reads best."""
    if value is None:
        return DASH
    if abs(value) >= _SECONDS_FROM_MS:
        return f"{significant(value / 1000)} s"
    if 0 < abs(value) < _MICROSECONDS_BELOW_MS:
        return f"{significant(value * 1000)} µs"
    return f"{significant(value)} ms"


def size(value: float | None) -> str:
    """A number of bytes in binary units."""
    if value is None:
        return DASH
    if not math.isfinite(value):
        return significant(value)
    amount = float(value)
    for unit in ("B", "KiB", "MiB"):
        if abs(amount) < _KIBI:
            return f"{amount:.0f} B" if unit == "B" else f"{significant(amount)} {unit}"
        amount /= _KIBI
    return f"{significant(amount)} GiB"


def cosine(value: float | None) -> str:
    """A cosine, cut to four places, or to six when it is nearly one."""
    if value is None:
        return DASH
    if not math.isfinite(value):
        return significant(value)
    places = 4 if abs(value) < _NEARLY_ONE else 6
    return f"{_cut(value, places):.{places}f}"


def share(value: float | None) -> str:
    """A part of one as a percentage, cut to one place."""
    if value is None:
        return DASH
    if not math.isfinite(value):
        return significant(value)
    return f"{_cut(value * 100, 1):.1f}".removesuffix(".0") + " %"


def _cut(value: float, places: int) -> float:
    # The tiny allowance undoes binary rounding: 0.29 * 100 is 28.999999999999996.
    scale = float(10**places)
    return math.floor(value * scale + 1e-9) / scale


def ratio(value: float | None) -> str:
    """A speed-up."""
    if value is None:
        return DASH
    least, most = _TIMES_PLAIN
    return (f"{value:.2f}" if least <= abs(value) < most else significant(value)) + TIMES


def plural(number: int, noun: str) -> str:
    """A count with its noun: 1 node, 2 nodes."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def words(name: str) -> str:
    """A field's name as words."""
    return name.replace("_", " ")


def gate(limits: dict[str, float]) -> str:
    """A gate as a condition: an error must stay below its limit, everything else above."""
    return ", ".join(
        f"{words(name)} {'≤' if 'error' in name else '≥'} {limit:g}" for name, limit in limits.items()
    )
