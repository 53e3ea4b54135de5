"""Where two kernels can do the same work, the clock chooses, and nothing but the clock can tell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.runtime.kernels import build
from tests.runtime.kernels.convolutions import random_convolution
from tests.runtime.kernels.layers import BinaryLayer

COUNTS = """
#include <cstdio>
#include "faster.h"

using Clock = std::chrono::steady_clock;

void spin(std::chrono::microseconds time) {
  for (const auto end = Clock::now() + time; Clock::now() < end;) {}
}

int main() {
  edgepack::Faster faster;
  std::chrono::microseconds cost[2] = {std::chrono::microseconds(20), std::chrono::microseconds(400)};
  for (int half = 0; half < 2; ++half) {
    int calls[2] = {0, 0};
    for (int i = 0; i < 500; ++i) {
      faster.run(1, [&] { spin(cost[0]); ++calls[0]; }, [&] { spin(cost[1]); ++calls[1]; });
    }
    std::printf("%d %d\\n", calls[0], calls[1]);
    std::swap(cost[0], cost[1]);
  }
}
"""


def test_the_faster_way_gets_the_calls_also_after_it_became_the_slower_one(tmp_path: Path) -> None:
    if missing := build.what_is_missing():
        pytest.skip(f"no {missing}")
    (tmp_path / "counts.cpp").write_text(COUNTS)
    program = tmp_path / "counts"
    sources = Path(build.SOURCES) / "src"
    command = [os.environ.get("CXX", "c++"), "-std=c++17", "-O2", f"-I{sources}"]
    subprocess.run([*command, str(tmp_path / "counts.cpp"), "-o", str(program)], check=True)
    lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    (first, other), (slow, fast) = (map(int, line.split()) for line in lines)
    assert first + other == slow + fast == 500
    assert first > 450
    assert other >= 3  # the slower way is looked at again
    assert fast > 350


@pytest.mark.parametrize("threads", [1, 2])
def test_whichever_way_a_call_goes_the_bits_are_equal(threads: int, opened: Callable[..., Any]) -> None:
    """More calls than it takes to have gone every way, four at a time, of sizes that tiles take."""
    rng = np.random.default_rng(11)
    linear = BinaryLayer.random(rng, 100, 300, "channels")
    rows = rng.standard_normal((70, 300)).astype(np.float32)
    conv = replace(random_convolution(rng, 40, 64), shift=None)
    image = rng.standard_normal((2, 64, 9, 11)).astype(np.float32)
    for layer, x in ((linear, rows), (conv, image)):
        session = opened(layer.model(), threads=threads)
        expected = layer.expected(x)
        with ThreadPoolExecutor(4) as pool:
            for y in pool.map(lambda _, x=x, session=session: session.run(None, {"x": x})[0], range(300)):
                np.testing.assert_array_equal(y, expected)
