"""docs/tflite.md shows what the converter does."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[4]


def test_the_table_is_the_registry_s():
    made = runpy.run_path(str(ROOT / "tools/tflite_operators_table.py"))
    text = (ROOT / "docs/tflite.md").read_text(encoding="utf-8")
    assert made["PLACE"].put(text, made["tables"]()) == text, "run make docs"
