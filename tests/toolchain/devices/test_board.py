"""Bundles on an emulated board: the outputs of this machine, a cost that repeats, and no time anywhere."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgepack
from edgepack.runtime.devices.board import boards, making, userland
from edgepack.runtime.kernels.build import what_is_missing
from edgepack.toolchain import api
from edgepack.toolchain.devices import page, profiling, settings, shown
from edgepack.toolchain.devices.results import DeviceProfile
from edgepack.toolchain.errors import GateError, UsageError
from edgepack.toolchain.pipeline.judging import run
from edgepack.toolchain.report import text
from tests.conftest import data_of
from tests.toolchain.devices import by_hand, stateful

pytestmark = [
    pytest.mark.slow,
    pytest.mark.system("g++-aarch64-linux-gnu", "qemu-user", "aarch64-wheels"),
]
IN, OUT = 64, 256
# Keys of a profile that hold what depends on time or on the emulator's own memory.
TIMED = {
    "latency", "calls_per_s", "memory", "slowdown", "energy", "before", "after", "p50_ms", "p90_ms", "p99_ms",
    "ci_low_ms", "ci_high_ms", "first_run_ms", "load_ms", "peak_bytes", "samples",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def switched_on():
    """Two boards, of a processor with dot products and of one without."""
    if missing := what_is_missing():
        pytest.skip(f"the runner cannot be built: there is no {missing}")
    for name, processor in (("new", "cortex-a76"), ("old", "cortex-a53")):
        making.create(name, processor=processor, onnxruntime=data_of("aarch64-wheels"))
        assert boards.start(name).plugin
    yield
    for name in ("new", "old"):
        boards.remove(name)


@pytest.fixture(scope="module")
def whole_numbers(tmp_path_factory):
    """A layer in 8-bit integers: y [1, 256] = x [1, 64] w, quantized on both sides."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 255, (4, 1, IN), np.uint8), rng.integers(-127, 127, (IN, OUT), np.int8)
    constants = [
        numpy_helper.from_array(value, name)
        for name, value in (
            ("w", w), ("s", np.float32(0.02)), ("t", np.float32(0.9)), ("z", np.uint8(128)), ("o", np.int8(0)),
        )
    ]  # fmt: skip
    node = helper.make_node("QLinearMatMul", ["x", "s", "z", "w", "s", "o", "t", "z"], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, IN])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, OUT])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    exact = 128 + (x.astype(np.int32) - 128) @ w.astype(np.int32) * (0.02 * 0.02 / 0.9)
    y = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
    folder = tmp_path_factory.mktemp("integers") / "bundle"
    return by_hand.write(folder, model, [{"x": one} for one in x], [{"y": one} for one in y])


def ask(bundle, name="new", **given):
    return profiling.profile(bundle, f"board://{name}", settings.Settings(), **given)


def figures(one):
    return {figure.name: figure.value for figure in one.counted}


def test_integers_have_the_same_bits_and_their_products_are_counted(whole_numbers):
    """A dot-product instruction makes 16 products: as many as the layer has, to the instruction."""
    new, again, old = (ask(whole_numbers, name) for name in ("new", "new", "old"))
    for found in (new, again, old):
        (target,) = found.targets
        assert target.parity["main"].passed
        assert target.host["main"].same_bits
        assert target.host["main"].calls == 4
    first, second, without = (one.targets[0].measured[0] for one in (new, again, old))
    assert figures(first)["dot products"] * 16 == IN * OUT
    assert figures(without)["dot products"] == 0
    cost = figures(first)["instructions"]
    assert figures(without)["instructions"] > cost
    assert figures(second)["instructions"] == pytest.approx(cost, rel=0.01)
    assert 0 < figures(first)["vectors"] + figures(first)["memory accesses"] < cost
    for figure in first.counted:
        assert figure.kind == "counted"
        assert figure.tool.name == "qemu-aarch64"


def test_no_time_anywhere(small_bundle, tmp_path):
    """Neither in the results nor in the file, on the page and in the terminal; each says that it is emulated."""
    found = edgepack.profile(small_bundle.path, "board://new", out=tmp_path / "out")
    error = found.targets[0].host["main"].max_abs_error
    assert error is not None
    assert error < 1e-5
    written = json.loads((tmp_path / "out" / page.JSON_FILE).read_text())
    assert DeviceProfile.model_validate(written) == found
    assert "QEMU" in written["device"]["emulated"]
    (one,) = written["targets"][0]["measured"]
    assert one["emulated"]
    assert one["counted"]
    assert [path for path in leaves(one) if path[0] in TIMED] == []
    html = (tmp_path / "out" / page.PAGE_FILE).read_text()
    body = re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL)
    assert "Emulated: QEMU" in body
    assert "Instructions of one call" in body
    assert re.findall(r"[0-9.]+\s*(?:ms|µs|ns)\b", re.sub(r"<[^>]+>", " ", body)) == []
    assert "Median" not in body
    said = printed(found)
    assert "Emulated: QEMU" in said
    assert "Median" not in said
    assert not re.search(r"[0-9]\s*(ms|µs)\b", said)


def leaves(value, path=()):
    """Every value that is there, with its keys from the innermost."""
    if isinstance(value, dict):
        return [leaf for key, one in value.items() for leaf in leaves(one, (key, *path))]
    if isinstance(value, list):
        return [leaf for one in value for leaf in leaves(one, path)]
    return [] if value is None else [(*path, value)]


def printed(found):
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as capture:
        console.print(shown.terminal(text.cleaned(found)))
    return capture.get()


def test_calls_in_a_row_are_counted_with_their_states(tmp_path):
    (target,) = ask(stateful.write(tmp_path / "bundle")).targets
    counts = {one.unit: figures(one)["instructions"] for one in target.measured}
    assert set(target.host) == {"start", "step"}
    assert all((one.max_abs_error or 0) < 1e-5 for one in target.host.values())
    # The row calls `start` once and `step` three times.
    assert counts["calls in a row"] == pytest.approx(counts["start"] + 3 * counts["step"], rel=0.2)


def test_outputs_unlike_this_machine_s_are_an_error(small_bundle, monkeypatch):
    """The board computes rightly and this machine does not: the two are not called equal."""
    monkeypatch.setattr(
        "edgepack.toolchain.devices.host.run",
        lambda *given: [{"y": one["y"][:, ::-1]} for one in run(*given)],
    )
    with pytest.raises(GateError, match="other outputs than this machine"):
        ask(small_bundle)


@pytest.mark.system("aarch64-debian")
def test_the_runner_in_python(whole_numbers, monkeypatch):
    """Debian's own interpreter for 64-bit ARM: the same bits; instructions and times of it are not told."""
    monkeypatch.setattr(userland, "of_debian", lambda root: shutil.copytree(data_of("aarch64-debian"), root))
    making.create("snake", python=True, onnxruntime=data_of("aarch64-wheels"))
    boards.start("snake")
    found = ask(whole_numbers, "snake", runner="python")
    boards.remove("snake")
    assert found.device.environment.python.startswith(userland.PYTHON_VERSION)
    assert found.device.environment.packages["onnxruntime"]
    assert found.device.environment.cpu_model.startswith("1x Cortex-A76")
    (target,) = found.targets
    assert target.host["main"].same_bits
    (one,) = target.measured
    assert one.emulated
    assert "--runner native" in (one.skipped or "")
    assert (one.counted, one.latency, one.memory) == ([], None, None)
    assert "Outputs alone" in printed(found)


def test_clocks_are_not_touched(small_bundle):
    """Those would be this machine's."""
    with pytest.raises(UsageError, match="no clocks to fix"):
        ask(small_bundle, prepare=True)


def test_a_farm(small_bundle, tmp_path):
    """A board among devices: instructions, compared like times, and no time of its own."""
    (tmp_path / "devices.yaml").write_text(
        f"devices: {{emulated: {{address: 'board://new'}}}}\nbundles: {{small: {small_bundle.path}}}\n"
    )
    first, second = (api.farm(tmp_path / "devices.yaml", out=tmp_path / "out") for _ in range(2))
    assert [one.verdict for one in first.results] == ["first"]
    (one,) = second.results
    assert one.verdict == "same"
    assert one.instructions == pytest.approx(first.results[0].instructions, rel=0.01)
    assert one.before_instructions == first.results[0].instructions
    (row,) = csv.DictReader((tmp_path / "out" / "farm.csv").read_text().splitlines())
    assert "QEMU" in row["emulated"]
    assert {name: row[name] for name in TIMED & set(row)} == dict.fromkeys(TIMED & set(row), "")
    (shown_,) = json.loads((tmp_path / "out" / "farm.json").read_text())["results"]
    assert {shown_[name] for name in TIMED & set(shown_)} == {None}
    html = (tmp_path / "out" / "farm.html").read_text()
    body = re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL)
    assert "emulated is emulated (QEMU" in body
    assert "nothing was timed" in body
    assert re.findall(r"[0-9.]+\s*(?:ms|µs|ns)\b", re.sub(r"<[^>]+>", " ", body)) == []
