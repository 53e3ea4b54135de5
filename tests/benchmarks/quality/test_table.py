"""The table in docs/quality.md: made of a whole run's rows, between its markers."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks.quality import rows
from tests.benchmarks.quality.paired import Estimate

ROOT = Path(__file__).resolve().parents[3]
FACTS = {"date": "2026-01-02", "cpu": "a processor", "python": "3.11.2", "packages": {"torch": "2.6"}}
FP32 = rows.Row(
    "CNN", "accuracy", "cpu:onnxruntime", "fp32", 100, 91.0, 91.0, Estimate(0, -1, 1), None, 2000, None, chosen=False
)  # fmt: skip
INT8 = replace(
    FP32, precision="int8-static", value=90.0, change=Estimate(-1, -2, 0.5), nodes=7, size_bytes=600,
    speed=Estimate(2, 1.9, 2.1), chosen=True,
)  # fmt: skip
WHOLE = [FP32, INT8, replace(FP32, model="ViT"), replace(FP32, model="decoder", measure="perplexity")]


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("quality_table", ROOT / "tools" / "quality_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_survive_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(rows, "FILE", tmp_path / "build" / "quality.json")
    rows.write(WHOLE, FACTS)
    assert rows.read() == (WHOLE, FACTS)


def test_a_row_becomes_a_line(generator):
    lines = generator.tables(WHOLE, FACTS).splitlines()
    assert (
        "| `cpu:onnxruntime` | int8-static | 100 | 90.00 % | -1.00 (-2.00 to +0.50) | 7 | 0.001 MB | "
        "2.00 (1.90 to 2.10) | shipped |" in lines
    )
    assert "| `cpu:onnxruntime` | fp32 | 100 | 91.00 % |  |  | 0.002 MB |  |  |" in lines
    assert lines[0] == "2026-01-02, a processor, one thread, Python 3.11.2, torch 2.6."


def test_half_a_run_makes_no_table(generator):
    with pytest.raises(ValueError, match="no rows of decoder"):
        generator.tables(WHOLE[:-1], FACTS)


def test_the_page_has_its_markers(generator):
    page = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
    once = generator.PLACE.put(page, "new\n")
    assert "\n\nnew\n\n" in once
    assert generator.PLACE.put(once, "new\n") == once
