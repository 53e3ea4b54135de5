"""A line of the table: one model on one target in one precision, against fp32."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.quality.paired import Estimate

FILE = Path(__file__).resolve().parents[3] / "build" / "quality.json"


@dataclass(frozen=True)
class Row:
    """What was measured.

    Attributes:
        model: For people.
        measure: "accuracy" (percent) or "perplexity".
        target: As `export` takes it.
        precision: As `export` takes it.
        judged: Images, or predicted tokens.
        fp32: The measure of fp32.
        value: The measure of this form.
        change: Points of accuracy, or ratio of perplexities.
        nodes: That the quantizer changed, None for fp32.
        size_bytes: Of what ships.
        speed: Against the same target's fp32, None where this machine cannot tell.
        chosen: Whether `--precision auto` ships this form (for a program: of one of its parts).
    """

    model: str
    measure: str
    target: str
    precision: str
    judged: int
    fp32: float
    value: float
    change: Estimate
    nodes: int | None
    size_bytes: int
    speed: Estimate | None
    chosen: bool

    def __str__(self) -> str:
        unit = " points" if self.measure == "accuracy" else "x"
        speed = "" if self.speed is None else f", {self.speed.value:.2f}x as fast"
        return (
            f"{self.model} {self.target} {self.precision}: {self.measure} {self.value:.3f} (fp32 {self.fp32:.3f}), "
            f"{self.change.value:+.4f}{unit} ({self.change.low:+.4f} to {self.change.high:+.4f}), "
            f"{self.nodes} nodes, {self.size_bytes} bytes{speed}{', shipped' * self.chosen}"
        )


def write(rows: list[Row], facts: dict[str, Any]) -> None:
    """Put the rows of a run, and where and when they were measured, into `FILE`."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps({"facts": facts, "rows": [asdict(row) for row in rows]}, indent=1))


def read() -> tuple[list[Row], dict[str, Any]]:
    """What `write` wrote."""
    data = json.loads(FILE.read_text())
    rows = []
    for row in data["rows"]:
        speed = row.pop("speed")
        change = Estimate(*row.pop("change"))
        rows.append(Row(**row, change=change, speed=Estimate(*speed) if speed else None))
    return rows, data["facts"]
