"""What the benchmarks of quality measured, written at the end for tools/quality_table.py."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest

from edgepack.runtime.environment import capture
from tests.benchmarks.quality import rows

_PACKAGES = (
    "ai-edge-litert",
    "ai-edge-quantizer",
    "edgepack",
    "ethos-u-vela",
    "onnxruntime",
    "openvino",
    "torch",
)


@pytest.fixture(scope="session")
def table() -> Iterator[list[rows.Row]]:
    """Takes the rows; the file is written when the last benchmark of a run that added some is over."""
    found: list[rows.Row] = []
    yield found
    if not found:
        return
    machine = capture(1, spinning=False)
    packages = {name: version for name, version in machine.packages.items() if name in _PACKAGES}
    rows.write(
        found,
        {
            "date": dt.datetime.now(tz=dt.timezone.utc).date().isoformat(),
            "cpu": machine.cpu_model,
            "python": machine.python,
            "packages": packages,
        },
    )
