"""How long a user waits for help and for the list of targets."""

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark
RUNS = 9
EDGEPACK = Path(sys.executable).with_name("edgepack")


@pytest.mark.parametrize(("word", "limit"), [("--help", 0.2), ("targets", 0.5)])
def test_startup(cost, word, limit):
    # The best of several: the work is fixed, everything else is the machine's other business.
    times = sorted(cost([EDGEPACK, word]).seconds for _ in range(RUNS))
    print(f"\nedgepack {word}: best {times[0]:.3f} s, median {times[RUNS // 2]:.3f} s (limit {limit} s)")
    assert times[0] <= limit
