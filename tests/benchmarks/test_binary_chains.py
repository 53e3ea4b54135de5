"""Chains of binary layers, bits from layer to layer against numbers from layer to layer: a JSON line each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepack.runtime import kernels
from edgepack.runtime.environment import capture
from tests.benchmarks.binary import chains
from tests.benchmarks.binary.peaks import peak

__all__ = ["peak"]

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        "avx512" not in kernels.available(), reason=kernels.why_not() or "no AVX-512 VPOPCNTDQ"
    ),
]
FILE = Path(__file__).resolve().parents[2] / "build" / "binary-chains.json"
OVER_UNPACKED = 1.5


@pytest.fixture(scope="module")
def lines():
    """Collects what was measured; a whole run is kept for the table in docs/binary-roofline.md."""
    found: list[dict[str, object]] = []
    yield found
    if len(found) == len(chains.CHAINS):
        machine = capture(1, spinning=False)
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(json.dumps({"cpu": machine.cpu_model, "lines": found}, indent=1))


@pytest.mark.parametrize("chain", chains.CHAINS, ids=lambda chain: chain.title)
def test_bits_are_faster_than_numbers(chain, peak, lines):
    made = chains.measure(chain, peak)
    print(f"\n{json.dumps(made)}")
    ratio = made["over"]["unpacked"]
    missed = [f"{ratio:.2f}x, not {OVER_UNPACKED}x"] if ratio < OVER_UNPACKED else []
    lines.append({**made, "missed": missed})
    assert not missed, missed[0]
