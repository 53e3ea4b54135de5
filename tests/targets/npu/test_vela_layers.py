"""Vela's times per layer: read from its table, and left out with a reason when it is not one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgepack.targets.base import Compiled, Context, targets
from edgepack.targets.npu._vela_layers import read_layers
from edgepack.toolchain.results import Tool
from tests.targets.npu.test_quantized_onnx import lower, network

VELA = Tool(name="ethos-u-vela", version="5")
HEADER = "Original Operator,NNG Operator,Target,Op Cycles,Name\n"
__all__ = ["network"]


def test_operations_are_summed_over_the_operators_that_they_come_from(tmp_path: Path) -> None:
    path = tmp_path / "m_per-layer.csv"
    path.write_text(
        HEADER
        + "Conv2D,Conv2D,NPU,300,a\nSoftmax,Sub,NPU,60,b\nSoftmax,LUT,NPU,40,c\nCast,Passthrough,CPU,0,d\n"
    )
    profile = read_layers([path], 1e6, VELA)
    assert [(o.op, o.calls, o.time_ms, o.share) for o in profile.operators] == [
        ("Conv2D", 1, pytest.approx(0.3), 0.75),
        ("Softmax", 2, pytest.approx(0.1), 0.25),
    ]
    assert profile.missing is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "wrote no times"),
        ("", "holds no cycles"),
        ("a,b\n1,2\n", "cannot be read.*Target"),
        (HEADER + "Conv2D,Conv2D,NPU,many,a\n", "cannot be read.*many"),
        (HEADER + "Conv2D,Conv2D,NPU,-1,a\n", "its cycles are '-1'"),
        (HEADER + "Conv2D,Conv2D,CPU,0,a\n", "holds no cycles"),
    ],
)
def test_a_table_that_is_none_is_missing_with_a_reason(text: str | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "m_per-layer.csv"
    if text is not None:
        path.write_text(text)
    profile = read_layers([path], 1e9, VELA)
    assert profile.operators == []
    assert profile.missing is not None
    assert re.search(reason, profile.missing)


def test_vela_itself(network, tmp_path: Path) -> None:
    lowered = lower(network, tmp_path / "lowered")
    compiled = targets.get("npu:ethos-u55-128")().compile(lowered, Context({}, {}), tmp_path / "out")
    assert compiled.profile is not None
    assert compiled.estimate is not None
    times = {o.op: o.time_ms for o in compiled.profile.operators}
    assert {"Conv2D", "Add", "FullyConnected"} <= set(times)
    assert sum(times.values()) == pytest.approx(compiled.estimate.p50_ms, rel=0.05)
    assert Compiled.from_json(compiled.to_json()) == compiled
