"""Binary layers against ONNX Runtime's fp32 and int8 of the same shapes, in turn in one process: a JSON line each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepack.runtime import kernels
from edgepack.runtime.environment import capture
from tests.benchmarks.binary import measure, models
from tests.benchmarks.binary.peaks import peak

__all__ = ["peak"]

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        "avx512" not in kernels.available(), reason=kernels.why_not() or "no AVX-512 VPOPCNTDQ"
    ),
]
FILE = Path(__file__).resolve().parents[2] / "build" / "binary.json"
TWO_THREADS = 1.7
LEAST_SHARE = 0.5


@pytest.fixture(scope="module")
def doubled():
    """Collects what two threads gained."""
    return []


@pytest.fixture(scope="module")
def lines(peak, doubled):
    """Collects what was measured; a whole run is kept for the table in docs/binary-roofline.md."""
    found: list[dict[str, object]] = []
    yield found
    if len(found) == len(models.SHAPES):
        machine = capture(1, spinning=False)
        FILE.parent.mkdir(parents=True, exist_ok=True)
        rates = {
            name: max(getattr(peak, name)() for _ in range(7))
            for name in ("products", "tiles", "near", "far")
        }
        run = {"cpu": machine.cpu_model, "limits": rates, "lines": found, "doubled": doubled}
        FILE.write_text(json.dumps(run, indent=1))


@pytest.mark.parametrize("shape", models.SHAPES, ids=lambda shape: shape.title)
def test_one_thread(shape, peak, lines):
    made = measure.measure(shape, peak)
    print(f"\n{json.dumps(made)}")
    missed = [
        f"{made['over'][name]:.1f}x {name}, not {least}x"
        for name, least in (("fp32", shape.over_fp32), ("int8", shape.over_int8))
        if made["over"][name] < least
    ]
    if made["share_of_roofline"] < LEAST_SHARE:
        missed.append(f"{made['share_of_roofline']:.2f} of the roofline, not {LEAST_SHARE}")
    lines.append({**made, "missed": missed})
    assert not missed, "; ".join(missed)


@pytest.mark.parametrize("shape", [s for s in models.SHAPES if s.rows == 128], ids=lambda shape: shape.title)
def test_two_threads(shape, peak, doubled):
    """The two bare loops beside it tell what of a miss is the machine's."""
    made = measure.threads_gain(shape) | {"bare_loops": measure.two_cores(peak)}
    print(f"\n{json.dumps(made)}")
    missed = [f"{made['gain']:.2f}x, not {TWO_THREADS}x"] if made["gain"] < TWO_THREADS else []
    doubled.append({**made, "missed": missed})
    assert not missed, missed[0]
