"""Results of a farm, without a device."""

from __future__ import annotations

from typing import Any

from edgepack.toolchain.farm.results import FarmReport, FarmResult


def result(p50: float | None = 1.0, **given: Any) -> FarmResult:
    """A figure whose interval is 2 % to either side."""
    base: dict[str, Any] = {
        "device": "board",
        "address": "ssh://board",
        "bundle": "minilm",
        "target": "cpu:onnxruntime",
        "unit": "main",
        "plan": "as-is",
        "precision": "fp32",
        "settings": "quick",
        "created": "2026-01-02T00:00:00Z",
        "p50_ms": p50,
        "ci_low_ms": None if p50 is None else 0.98 * p50,
        "ci_high_ms": None if p50 is None else 1.02 * p50,
        "peak_bytes": 100 << 20,
    }
    return FarmResult(**{**base, **given})


def report(*results: FarmResult) -> FarmReport:
    return FarmReport(run=3, created="2026-01-03T00:00:00Z", edgepack="0", tolerance=0.1, results=[*results])
