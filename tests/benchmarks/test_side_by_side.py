"""What building targets in two processes gains on two cores, and the memory that it takes; nothing is timed."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

import edgepack
from edgepack.runtime.environment import usable_cores
from edgepack.toolchain.bundle import Bundle
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.pipeline.members import STAGE
from edgepack.toolchain.pipeline.memory_bound import bound_of
from tests.qnn_models import network

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize(
    ("name", "targets", "gain"),
    [("small", "cpu,mobile:litert,npu:ethos-u", 0.8), ("minilm", "cpu:onnxruntime,cpu:openvino", 1.05)],
)
@pytest.mark.skipif(usable_cores() < 2, reason="two processes on one core gain nothing")
def test_two_processes(minilm: Path, tmp_path: Path, name: str, targets: str, gain: float) -> None:
    """The model is exported before; what is compared is everything after it, with equal results.

    A process takes seconds to start: a model of a few layers gains nothing, and must lose little.
    """
    model = minilm if name == "minilm" else network(tmp_path / "model").path
    spent: dict[int, float] = {}
    bundles: dict[int, Bundle] = {}
    for jobs in (2, 1):
        with Cache(tmp_path / f"cache{jobs}") as cache:
            options: dict[str, Any] = {
                "measure": False,
                "sizes": {"sequence": 32},
                "calibration_samples": 8,
                "cache": cache,
            }
            edgepack.export(
                model, targets="cpu:onnxruntime", precision="fp32", out=tmp_path / "first", **options
            )
            begin = time.perf_counter()
            bundles[jobs] = edgepack.export(
                model, targets=targets, out=tmp_path / f"out{jobs}", jobs=jobs, check=False, **options
            )
            spent[jobs] = time.perf_counter() - begin
            need = bound_of(model.parent if model.is_file() else model).need
    stages = bundles[2].manifest.stages
    (together,) = [stage for stage in stages if stage.name == STAGE]
    found = re.search(r"at most (\d+) MiB", together.detail or "")
    assert found is not None
    peak = int(found[1]) << 20
    print(f"\n{name}, {targets}: {len(bundles[1].artifacts)} artifacts")
    print(f"one process {spent[1]:.1f} s, two {spent[2]:.1f} s: {spent[1] / spent[2]:.2f}x")
    print(f"{together.detail}; {2 * need / 2**20:.0f} MiB were taken to be needed")
    for one, two in zip(bundles[1].artifacts, bundles[2].artifacts, strict=True):
        assert (one.target, one.precision) == (two.target, two.precision)
        assert one.parity == two.parity
    assert spent[1] / spent[2] > gain
    assert peak < 2 * need
