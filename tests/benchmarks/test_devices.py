"""What measuring on a device costs: the harness around a call, and bringing a model there."""

from __future__ import annotations

import os
import subprocess
import time
from statistics import median

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, save

import edgepack
from edgepack.runtime._timing_steps import timed_ms, without_collector
from edgepack.runtime.devices.board import boards, making
from edgepack.runtime.devices.device import opened
from edgepack.runtime.devices.native import build
from edgepack.runtime.devices.native.library import library
from edgepack.runtime.devices.native.request import Part, Plan, Request, Unit
from edgepack.runtime.devices.runner import parts
from tests.conftest import data_of
from tests.runtime.devices.sshd import server

pytestmark = pytest.mark.benchmark

ROUNDS, CALLS = 60, 200
LIMIT_US = 10.0  # 1 % of a model that takes 1 ms
MEGABYTES, LEAST_MB_PER_S = 64, 50.0
BOARD_S = 120.0


def test_the_harness_costs_less_than_a_hundredth_of_a_millisecond(tmp_path):
    """What a call takes as the runner times it beyond the runtime's own call, of a model that computes nothing much."""
    model, bare = _tiny(tmp_path)
    signature = {
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["n", 4]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["n", 4]}],
    }
    part = {
        "name": "main",
        "session": "onnxruntime",
        "file": str(model),
        "signature": signature,
    }
    link = {"from_part": "main", "output": "y", "to_part": "main", "input": "x"}
    feed = {"x": np.ones((1, 4), np.float32)}
    with parts.opened({"parts": [part]}, ["main"], 1) as sessions:
        program = parts.program({"links": [link], "initial": None}, sessions)
        runs = {
            "runtime": lambda: bare.run(["y"], feed),
            "part": lambda: sessions["main"].run(feed),
            "linked": lambda: program.call("main", feed),
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        with without_collector():
            for number in range(ROUNDS):
                for name in sorted(runs, reverse=number % 2 == 1):
                    times[name].append(
                        median(timed_ms(runs[name], time.perf_counter_ns) for _ in range(CALLS))
                    )
    found = {
        name: median(a - b for a, b in zip(times[name], times["runtime"], strict=True)) * 1e3
        for name in times
    }
    print(
        f"\nmicroseconds a call beyond the runtime's own: {found['part']:.2f}, linked {found['linked']:.2f}"
    )
    assert found["part"] < LIMIT_US
    assert found["linked"] < LIMIT_US


def test_the_runner_without_python_costs_no_more(tmp_path):
    """The same of the runner in C++: its own median of such a model beyond the runtime's as Python calls it."""
    feed = {"x": np.ones((1, 4), np.float32)}
    model, session = _tiny(tmp_path)
    program = build.runner(os.uname().machine)
    asked = Request(
        str(library(os.uname().machine, None, tmp_path)),
        "",
        1,
        "/none",
        (),
        [Part("main", str(model), ("x",), ("y",))],
        (),
        [Unit("main", linked=False, calls=(("main", feed),))],
        [Plan("as-is", (), 1)],
        (2000, 0.2, 5.0, 1.0, 0.0),
    )
    (tmp_path / "request.bin").write_bytes(asked.packed())
    found = []
    for _ in range(7):
        subprocess.run([program, "measure", "request.bin"], cwd=tmp_path, check=True)
        native = median(np.fromfile(tmp_path / "samples-0.f64"))
        runtime = median(
            timed_ms(lambda: session.run(["y"], feed), time.perf_counter_ns) for _ in range(2000)
        )
        found.append((native - runtime) * 1e3)
    print(f"\nmicroseconds a call beyond the runtime's own in Python: {median(found):.2f}")
    assert median(found) < LIMIT_US


def _tiny(folder):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [value], [out])
    path = folder / "m.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return path, onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.system("g++-aarch64-linux-gnu", "qemu-user", "aarch64-wheels")
def test_a_model_on_the_emulated_board_in_two_minutes(tmp_path, monkeypatch):
    """From a model's file to the report, with nothing built before: export, runner, plugin, check and count."""
    monkeypatch.setenv("EDGEPACK_CACHE", str(tmp_path / "cache"))
    making.create("timed", onnxruntime=data_of("aarch64-wheels"))
    model, _ = _tiny(tmp_path)
    begin = time.perf_counter()
    boards.start("timed")
    found = edgepack.profile(model, "board://timed", out=tmp_path / "out")
    took = time.perf_counter() - begin
    boards.remove("timed")
    print(f"\nfrom a model to its report on the board: {took:.0f} s")
    assert found.targets[0].measured[0].counted
    assert (tmp_path / "out" / "profile.html").is_file()
    assert took < BOARD_S


@pytest.mark.system("openssh-server")
def test_64_megabytes_over_loopback_ssh(tmp_path):
    """Hashed here, sent, hashed there and placed; the second time nothing is sent."""
    speeds = []
    (tmp_path / "keys").mkdir()
    with (
        server(tmp_path / "keys") as sshd,
        opened(sshd.address, workdir=str(tmp_path / "dev"), config=sshd.config) as device,
    ):
        for number in range(3):
            file = tmp_path / f"{number}.onnx"
            file.write_bytes(os.urandom(MEGABYTES * 1_000_000))
            with device.run() as run:
                begin = time.perf_counter()
                assert run.place({"main.onnx": file}) == {"main.onnx"}
                speeds.append(MEGABYTES / (time.perf_counter() - begin))
        with device.run() as run:
            begin = time.perf_counter()
            assert run.place({"again.onnx": file}) == set()
            again = time.perf_counter() - begin
    print(f"\n{MEGABYTES} MB: {', '.join(f'{s:.0f}' for s in speeds)} MB/s; already there: {again:.2f} s")
    assert max(speeds) >= LEAST_MB_PER_S
