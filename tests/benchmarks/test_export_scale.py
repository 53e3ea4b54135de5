"""Export time grows with depth in proportion, and no process needs more than about two copies of the weights."""

import statistics
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]
EDGEPACK = Path(sys.executable).with_name("edgepack")
FACTORY = f"{Path(__file__).with_name('encoders.py')}:make"
ROUNDS = 3


def export(cost, out, depth, width):
    environment = [f"DEPTH={depth}", f"WIDTH={width}"]
    return cost(["env", *environment, EDGEPACK, "export", FACTORY, "--target", "cpu:onnxruntime", "--precision", "fp32",
                 "--no-measure", "--no-cache", "--quiet", "--out", out])  # fmt: skip


def test_time_grows_linearly_with_depth(cost, tmp_path):
    """The second doubling of the depth adds at most 2.4 times what the first added."""
    depths = (12, 24, 48)
    seconds = {d: [export(cost, tmp_path / "out", d, 128).seconds for _ in range(ROUNDS)] for d in depths}
    middle = [statistics.median(seconds[d]) for d in depths]
    first, second = middle[1] - middle[0], middle[2] - middle[1]
    print(
        "\nexport by depth: "
        + ", ".join(f"{d} layers {s:.1f} s" for d, s in zip(depths, middle, strict=True))
        + f"; a layer costs {first / 12:.3f} s from 12 to 24 and {second / 24:.3f} s from 24 to 48"
    )
    # Linear growth adds exactly twice as much; quadratic growth adds four times as much.
    assert second <= 2.4 * first


def test_memory_of_a_torch_source(cost, tmp_path):
    depth, width = 24, 1024
    weights = 4 * depth * (12 * width * width + 13 * width)
    peak = export(cost, tmp_path / "out", depth, width).peak_bytes
    print(
        f"\nlargest process {peak / 2**20:.0f} MiB for {weights / 2**20:.0f} MiB of weights: {peak / weights:.2f} x"
    )
    assert peak <= 2.2 * weights
