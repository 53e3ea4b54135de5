"""The toolkit's errors layer by layer: its simulator against the float model, on one of the samples.

    layer_name              simulator_error
                            entire              single
                            cos      euc        cos      euc
    [Conv] c2               0.99989 | 0.55377   0.99993 | 0.45182

"entire" is the error with all that came in from the layers before; "single" that of the layer alone, on right inputs.
A layer that was fused into the next has a row without numbers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

_ROW = re.compile(
    r"^\[(?P<op>\w+)\]\s+(?P<name>\S.*?)\s+(?P<cos>[-\w.]+) \| [-\w.]+\s+(?P<one>[-\w.]+) \| [-\w.]+\s*$",
    re.MULTILINE,
)
ENDS = frozenset({"Input", "exDataConvert"})


@dataclass(frozen=True)
class LayerError:
    """One layer of the quantized graph.

    Attributes:
        op: Kind of operator.
        name: The tensor that it computes.
        cosine: With the float model's, errors of earlier layers included.
        single: The same for this layer alone.
    """

    op: str
    name: str
    cosine: float
    single: float


def read_errors(path: Path) -> list[LayerError]:
    """The rows with numbers, in the graph's order; none where the file is not there or says nothing."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for row in _ROW.finditer(text):
        try:
            cosine, single = float(row["cos"]), float(row["one"])
        except ValueError:
            continue
        if row["op"] not in ENDS and math.isfinite(cosine) and math.isfinite(single):
            found.append(LayerError(row["op"], row["name"], cosine, single))
    return found


def worst(errors: list[LayerError], count: int = 3) -> str | None:
    """The layers that lose most by themselves, in words; None without any."""
    if not errors:
        return None
    low = sorted(errors, key=lambda error: error.single)[:count]
    said = ", ".join(f"{error.name} ({error.op}) {error.single:.5f}" for error in low)
    return f"lowest cosines of single layers, by the toolkit's own analysis on one sample: {said}"
