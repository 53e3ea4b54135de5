# ruff: noqa: INP001 - a script, not a package
"""Exports tiny random models of every family and writes what was found into docs/families.md.

python tools/families_table.py                run all, write the whole table
python tools/families_table.py llama t5       run these, and put their rows into the table that is there
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PAGE = Path(__file__).resolve().parents[1] / "docs" / "families.md"
HEAD = (
    "Family", "Class", "Task", "Parts", "Dimensions that vary", "Rungs", "Calls in a row", "Largest difference",
    "optimum-onnx 0.1.0",
)  # fmt: skip
# Families in optimum-onnx 0.1.0's own table of model types with an ONNX configuration
# (`optimum.exporters.tasks.TasksManager`, its ONNX configurations imported).
IN_OPTIMUM = {
    "llama", "gemma2", "gemma3_text", "gpt2", "codegen", "opt", "qwen2", "qwen3", "mistral", "phi3", "t5",
    "bart", "whisper", "bert", "roberta", "modernbert", "distilbert", "electra", "mpnet", "deberta-v2",
    "vit", "swin", "poolformer", "mobilevit", "convnext", "segformer", "yolos", "wav2vec2-conformer",
    "wav2vec2", "hubert", "clip", "vision-encoder-decoder",
}  # fmt: skip
TEXT = """# Families of Hugging Face models

Written by `python tools/families_table.py`, which exports a tiny random model of every family and compares
it with its source: every part on at least three inputs of different sizes, and programs of several parts
step by step against the whole sequence. What each family is made of stands in
[tests/exporters/families](../tests/exporters/families).

- *Dimensions that vary* are those of all parts. A decode step takes any number of cached tokens, none included.
- *Calls in a row* is how many calls of the program were compared with the source's answer to the whole sequence.
- *Largest difference* is that of any output of any call to the source framework, float32.
- *optimum-onnx 0.1.0*: whether it has a configuration for the family.

"""


def row(name: str) -> tuple[str, ...]:
    """One family's row: what its run found, or the error that it raised."""
    from edgepack.toolchain.errors import EdgepackError
    from tests.exporters.families.registry import FAMILIES
    from tests.exporters.families.running import run

    family = FAMILIES[name]
    known = "yes" if name in IN_OPTIMUM else "no"
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = run(family, Path(folder))
        except EdgepackError as error:
            words = re.sub(r"[|\s]+", " ", error.what)[:200]
            return (name, family.model, "-", "-", "-", f"not exported: {words}", "-", "-", known)
        symbols = dict.fromkeys(s for part in found.program for s in part.signature.symbols)
        return (
            name,
            found.model,
            found.task,
            ", ".join(found.program.parts),
            ", ".join(symbols),
            ", ".join(dict.fromkeys(found.rungs.values())),
            str(found.rollout.inputs_tried) if found.rollout else "-",
            f"{found.largest_difference:.1e}"
            if found.passed
            else f"**{found.largest_difference:.1e}, too large**",
            known,
        )


def kept(text: str) -> dict[str, tuple[str, ...]]:
    """The rows of a page that was written before, by family."""
    rows: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
        if line.startswith("| ") and len(cells) == len(HEAD) and cells[0] not in {HEAD[0], "---"}:
            rows[cells[0]] = cells
    return rows


def page(rows: dict[str, tuple[str, ...]]) -> str:
    """The whole page."""
    from edgepack.toolchain.markdown import table
    from tests.exporters.families.registry import FAMILIES

    ordered = [rows[name] for name in FAMILIES if name in rows]
    return TEXT + table(HEAD, ordered)


def main(names: list[str]) -> None:
    """Run families and write the page after each, so that a run that is cut short is not lost."""
    import logging
    import warnings

    from tests.exporters.families.registry import FAMILIES

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if not names:
        PAGE.unlink(missing_ok=True)
    for name in names or list(FAMILIES):
        made = row(name)
        rows = kept(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
        PAGE.write_text(page({**rows, name: made}), encoding="utf-8")
        sys.stdout.write(f"{' | '.join(made)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
