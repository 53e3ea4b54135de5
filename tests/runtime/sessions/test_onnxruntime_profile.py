"""Per-operator times from ONNX Runtime's profiler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.runtime.sessions._onnxruntime_profile import own_times, read_events
from edgepack.runtime.sessions.onnxruntime import OnnxRuntimeSession
from edgepack.toolchain.errors import EdgepackError, UsageError
from edgepack.toolchain.program import Signature, TensorSpec


def test_operators_of_a_real_run(model_file: Path, signature: Signature, x) -> None:
    with OnnxRuntimeSession(model_file, signature) as session:
        profile = session.profile({"x": x}, runs=5)
        nodes = session.executed_nodes({"x": x})
    assert {row.op: row.calls for row in profile.operators} == {"MatMul": 1, "Relu": 1, "Softmax": 1}
    assert sum(row.share for row in profile.operators) == pytest.approx(1)
    assert all(row.time_ms > 0 for row in profile.operators if row.op == "MatMul")
    assert [row.time_ms for row in profile.operators] == sorted(
        (row.time_ms for row in profile.operators), reverse=True
    )
    assert profile.tool == session.tool()
    assert profile.missing is None
    assert [(node.name, node.op, node.provider) for node in nodes] == [
        ("mm", "MatMul", "CPUExecutionProvider"),
        ("relu", "Relu", "CPUExecutionProvider"),
        ("softmax", "Softmax", "CPUExecutionProvider"),
    ]


def test_no_runs_no_profile(model_file: Path, signature: Signature, x) -> None:
    with pytest.raises(UsageError):
        OnnxRuntimeSession(model_file, signature).profile({"x": x}, runs=0)


def test_profile_of_wrong_inputs(model_file: Path, signature: Signature, x) -> None:
    with pytest.raises(UsageError, match="'x'"):
        OnnxRuntimeSession(model_file, signature).profile({"x": x[0]})


def test_a_loop_is_not_counted_twice(tmp_path: Path) -> None:
    """Five products of 128 x 128 matrices within a Loop: the Loop's own time is the small rest."""
    side, trips = 128, 5
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["condition"], ["go_on"]),
            helper.make_node("MatMul", ["state", "W"], ["next"], name="inner"),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [side, side]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [side, side]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body, name="loop")],
        "looped",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [side, side])],
        [
            numpy_helper.from_array(np.array(trips, np.int64), "trips"),
            numpy_helper.from_array(np.eye(side, dtype=np.float32), "W"),
        ],
    )
    path = tmp_path / "loop.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    spec = (side, side)
    session = OnnxRuntimeSession(
        path, Signature((TensorSpec("x", "float32", spec),), (TensorSpec("y", "float32", spec),))
    )
    rows = {row.op: row for row in session.profile({"x": np.ones(spec, np.float32)}, runs=4).operators}
    assert rows["MatMul"].calls == trips
    assert rows["Loop"].calls == 1
    assert sum(row.share for row in rows.values()) == pytest.approx(1)


def _event(
    start: int, duration: int, name: str = "n_kernel_time", tid: int = 1, cat: str = "Node"
) -> dict[str, Any]:
    return {"ts": start, "dur": duration, "name": name, "cat": cat, "tid": tid, "args": {"op_name": "Op"}}


def test_own_time_is_what_the_inner_nodes_leave() -> None:
    events = [
        _event(0, 100),
        _event(10, 30),
        _event(20, 5),
        _event(50, 40),
        _event(100, 7),  # begins where the first ends: a neighbour
        _event(20, 60, tid=2),  # another thread
    ]
    events.sort(key=lambda event: (event["ts"], -event["dur"]))
    assert dict(zip([(e["ts"], e["tid"]) for e in events], own_times(events), strict=True)) == {
        (0, 1): 30,
        (10, 1): 25,
        (20, 1): 5,
        (50, 1): 40,
        (100, 1): 7,
        (20, 2): 60,
    }


def test_warm_up_runs_and_other_events_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    runs = [_event(start, 90, "model_run", cat="Session") for start in (0, 100, 200)]
    nodes = [_event(start + 10, 50) for start in (0, 100, 200)]
    path.write_text(json.dumps([*runs, *nodes, _event(210, 5, "n_fence_before")]))
    assert [event["ts"] for event in read_events(path, skip_runs=1)] == [110, 210]


@pytest.mark.parametrize("text", ["", "[{]", "[{}]", "{}", "[]"])
def test_a_broken_trace(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(text)
    with pytest.raises(EdgepackError, match="trace"):
        read_events(path, skip_runs=1)
