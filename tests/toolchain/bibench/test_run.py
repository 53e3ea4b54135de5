"""The command through all of its real code, with a trifle of training: whole, resumed, and where a method fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from edgepack.quantize.binary import Method, methods
from edgepack.toolchain import child, cli
from edgepack.toolchain.bibench import run, settings
from edgepack.toolchain.bibench.cells import cell as cells
from edgepack.toolchain.errors import UnknownNameError, UsageError

TINY = replace(
    settings.REDUCED, cells=(("bytes", "cnn"),), samples=60, test_samples=60, steps=2, batch=8, timing_s=0.2
)
CHILD = """
from dataclasses import replace
from edgepack.toolchain.bibench import run
from tests.toolchain.bibench.test_run import TINY
run.bibench({out!r}, budget=TINY, methods=["bnn"], jobs=1)
"""


@pytest.fixture
def made(monkeypatch):
    """Methods of the cells that are made while the test runs."""
    names = []
    real = cells.make

    def counted(work, folder):
        names.append(work.method)
        return real(work, folder)

    monkeypatch.setattr(cells, "make", counted)
    return names


def finished(out: Path) -> list[str]:
    """Cells that lie in a folder."""
    return [path.read_text() for path in (out / "cells" / "v1" / "entries").glob("*/files/cell.json")]


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """Folder of a run that was killed when its first cell was there."""
    folder: Path = tmp_path_factory.mktemp("bibench") / "table"
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    child = subprocess.Popen([sys.executable, "-c", CHILD.format(out=str(folder))], cwd=root, env=environment)
    try:
        deadline = time.monotonic() + 600
        while not finished(folder):
            assert child.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (folder / run.RESULTS_FILE).exists()
    return folder


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_next_cell(out, made):
    before = set(finished(out))
    told = []
    results = run.bibench(out, budget=TINY, methods=["bnn"], jobs=1, listener=lambda *said: told.append(said))
    assert made == ["fp32", "bnn"][len(before) :], "what was finished is not made again"
    assert [one[0] for one in told] == [0, 1, 2, 3]
    assert told[-1] == (3, 3, "done")
    assert before <= {cell.model_dump_json(indent=1) for cell in results.cells}
    assert [cell.method for cell in results.cells] == ["fp32", "bnn"]
    for cell in results.cells:
        assert cell.missing is None
        assert cell.artifact.agreement > 0.97
        assert (cell.artifact.native_nodes > 0) == (cell.method != "fp32")
        assert cell.not_corrupted
    assert {timing.method for timing in results.timings} == {"fp32", "bnn"}
    stored = json.loads((out / run.RESULTS_FILE).read_text())
    assert stored["cells"][0]["accuracy"] == results.cells[0].accuracy
    assert b"BiBench" in (out / run.PAGE_FILE).read_bytes()
    made.clear()
    assert run.bibench(out, budget=TINY, methods=["bnn"]).cells == results.cells
    assert made == []


def test_a_cells_key_holds_all_that_it_depends_on():
    work = run._plan(TINY, ["bnn"])[1]
    keys = [work.key("this machine"), work.key("another"), replace(work, steps=3).key("this machine")]
    keys += [replace(work, samples=66).key("this machine"), replace(work, method="recu").key("this machine")]
    assert len({json.dumps(key) for key in keys}) == len(keys)
    assert keys[0]["data"] != keys[3]["data"]
    assert {"code", "data", "machine", "work"} < keys[0].keys()


class Breaks(Method):
    """A method with a fault."""

    name, paper = "breaks", "arXiv:0000.00000"

    def activation_slope(self, values):
        return values

    def weight_slope(self, *_):
        raise RuntimeError("wrong\nshape")


class Refuses(Breaks):
    """A method that does not fit."""

    def __init__(self, *_):
        raise UsageError("This method is for other layers")


@pytest.mark.slow
def test_a_method_that_fails_leaves_a_reason_and_the_others_their_figures(out, made, monkeypatch):
    members: dict[str, type[Method]] = methods._members
    monkeypatch.setitem(members, "refuses", Refuses)
    monkeypatch.setitem(members, "breaks", Breaks)
    for _ in range(2):
        results = run.bibench(out, budget=TINY, methods=["refuses", "breaks", "bnn"], jobs=1)
        by_method = {cell.method: cell for cell in results.cells}
        assert by_method["refuses"].missing == "This method is for other layers."
        assert by_method["breaks"].missing == "RuntimeError: wrong shape"
        assert by_method["bnn"].accuracy is not None
        assert {timing.method for timing in results.timings} == {"fp32", "bnn"}
        overall = {one.method: one for one in results.overall}
        assert set(overall["refuses"].tracks.values()) == {None}
        assert (overall["bnn"].tracks["inference"] or 0) > 0
    tried = [name for name in made if name not in {"fp32", "bnn"}]
    assert tried == ["breaks", "refuses", "breaks"], "a fault is tried again, a refusal is a result"


@pytest.mark.slow
def test_side_by_side_the_same_networks_are_trained(out, made, tmp_path, monkeypatch):
    alone = run.bibench(out, budget=TINY, methods=["bnn"], jobs=1)
    made.clear()
    told = []
    both = run.bibench(
        tmp_path, budget=TINY, methods=["bnn"], jobs=2, listener=lambda *said: told.append(said)
    )
    assert made == [], "processes trained them"
    assert told[0] == (0, 3, "bytes, cnn, fp32; bytes, cnn, bnn")
    assert told[-1] == (3, 3, "done")
    for one, other in zip(alone.cells, both.cells, strict=True):
        assert (one.method, one.accuracy, one.complexity) == (other.method, other.accuracy, other.complexity)
        assert one.training.loss == other.training.loss
    assert {timing.method for timing in both.timings} == {"fp32", "bnn"}


@pytest.mark.slow
def test_a_training_process_that_dies_costs_its_own_cell(tmp_path, monkeypatch):
    """The first that is asked kills itself; the next run makes what is missing."""
    real = child.Process
    asked: list[list[str]] = []

    def process(command, log):
        asked.append(command)
        return real(["-c", "import os; os.abort()"] if len(asked) == 1 else command, log)

    monkeypatch.setattr(child, "Process", process)
    budget = replace(TINY, cells=(("bytes", "cnn"),))
    results = run.bibench(tmp_path, budget=budget, methods=["bnn", "dorefa"], jobs=2)
    missing = {cell.method: cell.missing for cell in results.cells}
    assert missing["fp32"] is not None
    assert "signal 6" in missing["fp32"]
    assert missing["bnn"] is None
    assert missing["dorefa"] is None
    assert results.not_timed[0].reason == "the float network was not exported"
    assert all(
        cell.missing is None
        for cell in run.bibench(tmp_path, budget=budget, methods=["bnn", "dorefa"], jobs=2).cells
    )


@pytest.mark.slow
def test_an_interrupted_run_ends_its_processes(tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with pytest.raises(KeyboardInterrupt):
        run.bibench(tmp_path, budget=replace(TINY, steps=100_000), methods=["bnn"], jobs=2, listener=stop)
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before
    assert finished(tmp_path) == []


def test_without_its_data_a_task_has_reasons_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("edgepack.toolchain.datasets.fashion_mnist.FOLDER", tmp_path / "none")
    from edgepack.toolchain.bibench.cells import tasks

    tasks.load.cache_clear()
    results = run.bibench(
        tmp_path / "table", budget=replace(TINY, cells=(("image", "cnn"),)), methods=["bnn"]
    )
    assert all("Fashion-MNIST is not installed" in (cell.missing or "") for cell in results.cells)
    assert results.not_timed[0].reason == "the float network was not exported"
    assert results.samples == {}
    assert results.overall[0].missing["task"] == "fp32 has no accuracy"
    assert (tmp_path / "table" / run.PAGE_FILE).exists()


def test_wrong_names_are_refused_before_anything_is_done(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'reactnet'"):
        run.bibench(tmp_path / "x", methods=["reactnett"])
    with pytest.raises(UnknownNameError, match="--task"):
        run.bibench(tmp_path / "x", tasks=["images"])
    with pytest.raises(UsageError, match="None of the table's cells"):
        run.bibench(tmp_path / "x", tasks=["text"], architectures=["resnet"])
    with pytest.raises(UsageError, match="--jobs"):
        run.bibench(tmp_path / "x", jobs=0)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_the_command_prints_one_object_and_fills_the_document(out, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "REDUCED", TINY)
    document = tmp_path / "page.md"
    document.write_text("<!-- bibench -->\n<!-- /bibench -->\n")
    options = ["--task", "bytes", "--method", "bnn", "--json", "--quiet"]
    done = CliRunner().invoke(cli.app, ["bibench", *options, "--out", str(out), "--markdown", str(document)])
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert [cell["method"] for cell in data["cells"]] == ["fp32", "bnn"]
    assert data["command"] == "edgepack bibench --method bnn --task bytes"
    assert "## Overall metrics" in document.read_text()


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "bibench", interrupted)
    done = CliRunner().invoke(cli.app, ["bibench", "--out", str(tmp_path / "t")])
    assert done.exit_code == 130
    assert "The same command goes on." in done.stderr


def test_all_registered_methods_join_by_themselves():
    work = run._plan(replace(TINY, rate_factors=(3.0,)), methods.names())
    assert [one.method for one in work if one.rate_factor == 1] == ["fp32", *methods.names()]
    assert [one.method for one in work if one.rate_factor == 3] == ["fp32", *methods.names()]
    assert settings.REDUCED.cells[0] == settings.FULL.cells[0]
