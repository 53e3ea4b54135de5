"""From which size on a binary layer is faster than fp32 and int8: layers of all sizes, a JSON line each.

Times are without what the runtime takes for a call, which the layers of a network share. No layer that the converter
makes binary may be slower than fp32; those with too few products it leaves alone, given an example.
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx_ir as ir
import pytest

from edgepack.quantize.binary._convert import SMALLEST_PRODUCTS
from edgepack.runtime import kernels
from edgepack.runtime.environment import capture
from edgepack.runtime.kernels.functions import add_fallbacks
from tests.benchmarks.binary import measure, models

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not kernels.available(), reason=kernels.why_not() or ""),
]
FILE = Path(__file__).resolve().parents[2] / "build" / "binary-gain.json"
LAYERS = [(rows, width) for rows in (1, 16, 128) for width in (64, 128, 256, 512, 1024)]
IMAGES = [
    (size, channels) for channels in (32, 64, 128, 256) for size in (56, 28, 14, 7) if size * channels <= 3584
]


def least(products: int) -> float:
    """The bound against fp32: none where the converter leaves a layer alone."""
    return float(products >= SMALLEST_PRODUCTS)


SHAPES = [
    *(
        models.Shape(f"linear {m}, {k} to {k}", m, k, k, conv=False, over_fp32=least(m * k * k), over_int8=0)
        for m, k in LAYERS
    ),
    *(models.Shape(f"conv 3x3, {s}x{s}x{c}", s, c, c, conv=True, over_fp32=1, over_int8=0) for s, c in IMAGES),
]  # fmt: skip


@pytest.fixture(scope="module")
def lines():
    """Collects what was measured; a whole run is kept for the table in docs/binary-gain.md."""
    found: list[dict[str, object]] = []
    yield found
    if len(found) == len(SHAPES):
        machine = capture(1, spinning=False)
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(
            json.dumps({"cpu": machine.cpu_model, "kernel": kernels.available()[0], "lines": found}, indent=1)
        )


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.title)
def test_no_binary_layer_is_slower_than_fp32(shape, lines):
    x, forms = shape.x(), models.models(shape)
    runs = {name: measure.bound(model, x) for name, model in forms.items()}
    alone = ir.from_proto(forms["1-bit"])
    add_fallbacks(alone)
    runs["functions"] = measure.bound(ir.to_proto(alone), x, native=False)
    times = measure.in_turn(runs | {measure.CALL: measure.call_of_nothing()})
    call = times.pop(measure.CALL)
    layers = measure.medians({name: of - call for name, of in times.items()})
    made = {
        "shape": shape.title,
        "us": layers,
        "over": {name: of / layers["1-bit"] for name, of in layers.items() if name != "1-bit"},
    }
    print(f"\n{json.dumps(made)}")
    lines.append(made)
    assert made["over"]["fp32"] >= shape.over_fp32
