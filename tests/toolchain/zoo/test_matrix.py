"""The support matrix: failing cells beside good ones, resuming, limits, words; and one real cell."""

import json
import re
import time
from pathlib import Path

import psutil
import pytest

from edgepack.exporters.architectures.base import architectures
from edgepack.toolchain import child
from edgepack.toolchain.errors import EdgepackError, UnknownNameError, UsageError
from edgepack.toolchain.zoo import matrix, shown, workers
from edgepack.toolchain.zoo.cell import of_error
from edgepack.toolchain.zoo.results import Cell, Left, Matrix, PartCell

NAME = "return-of-the-encoder"
TARGETS = ("cpu:onnxruntime", "mobile:litert", "npu:ethos-u85-512")
_MIB = 1 << 20
_CHILD_TAKES_300_MIB = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "x = bytearray(300 << 20); import time; time.sleep(60)"])
time.sleep(60)
"""


def cell(target, outcome="runs", **more):
    return Cell(name=NAME, system="04", config="tiny", target=target, outcome=outcome, **more)


class Runner:
    """Answers for targets as told, and counts."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    def __call__(self, request, scratch, limits):
        target = request["target"]
        self.asked.append(target)
        assert limits.memory_bytes > 0
        assert Path(scratch).is_dir()
        answer = self.answers[target.partition(":")[0]]
        if isinstance(answer, Cell):
            Path(request["answer"]).write_text(answer.model_dump_json())
            return None
        return answer


def run(tmp_path, runner, **more):
    told = []
    wanted = matrix.Wanted(tmp_path, TARGETS, (NAME,), **more)
    return matrix.run(wanted, lambda *words: told.append(words), runner), told


def test_one_failure_hides_no_other_and_finished_cells_are_kept(tmp_path):
    blocked = of_error(NAME, "04", "tiny", TARGETS[1], EdgepackError("no way"))
    good = cell(
        TARGETS[2], parts=[PartCell(part="main", precision="int8-static", accelerator=9, cpu=0, macs=1.0)]
    )
    runner = Runner(cpu="it was not done after 1 s", mobile=blocked, npu=good)
    found, told = run(tmp_path, runner)
    assert [one.outcome for one in found.cells] == ["stopped", "blocked", "runs"]
    assert found.cells[0].why == "it was not done after 1 s"
    assert "no way" in found.cells[1].why
    assert told[0][:2] == (0, 3)
    assert told[-1] == (3, 3, "done")
    again, _ = run(tmp_path, runner)
    assert runner.asked[3:] == [TARGETS[0]], "only what was stopped is tried again"
    assert [one.outcome for one in again.cells] == ["stopped", "blocked", "runs"]
    kept = next((tmp_path / "cells").glob("*ethos*"))
    kept.write_text("{")
    run(tmp_path, runner)
    assert sorted(runner.asked[4:]) == [TARGETS[0], TARGETS[2]], "a damaged cell counts as none"


def test_another_configuration_is_another_cell(tmp_path, monkeypatch):
    runner = Runner(cpu=cell(TARGETS[0]), mobile=cell(TARGETS[1]), npu=cell(TARGETS[2]))
    run(tmp_path, runner)
    one = architectures.get(NAME)
    monkeypatch.setitem(one.configs, one.tiny, one.configs["decoder-only-tiny"])
    found, _ = run(tmp_path, runner, older=True)
    assert len(runner.asked) == 3, "the others will do"
    assert found.older == 3
    assert found.command.endswith("--older")
    assert "3 of 3 cells were made by earlier states of edgepack's code." in shown.summary(found)
    found, _ = run(tmp_path, runner)
    assert len(runner.asked) == 6
    assert found.older == 0


def test_a_process_without_an_answer_is_a_stopped_cell(tmp_path):
    found, _ = run(tmp_path, lambda *_: None)
    assert {one.outcome for one in found.cells} == {"stopped"}
    assert "gave no cell" in found.cells[0].why


def test_an_interrupt_ends_what_runs(tmp_path):
    limits = []

    def runner(request, scratch, limit):
        limits.append(limit)
        assert limit.stop.wait(20)
        return limit.reached(0, 0)

    wanted = matrix.Wanted(tmp_path, TARGETS, (NAME,), jobs=1)

    def listener(done, total, text):
        for _ in range(200):
            if limits:
                raise KeyboardInterrupt
            time.sleep(0.02)

    with pytest.raises(KeyboardInterrupt):
        matrix.run(wanted, listener, runner)
    assert limits[0].stop.is_set()
    assert not list(tmp_path.rglob("*.json")), "what was interrupted is no finished cell"


@pytest.mark.parametrize(
    ("code", "limits", "why"),
    [
        ("import sys; print('dear me'); sys.exit(7)", child.Limits(60, 2000 * _MIB), "exit code 7.*dear me"),
        ("import os; os.abort()", child.Limits(60, 2000 * _MIB), "signal 6"),
        ("import time; time.sleep(60)", child.Limits(0.5, 2000 * _MIB), "not done after 0.5 s"),
        (
            _CHILD_TAKES_300_MIB,
            child.Limits(60, 200 * _MIB),
            "MiB of memory, and 200 MiB",
        ),
    ],
)
def test_a_process_is_watched(tmp_path, code, limits, why):
    begin = time.monotonic()
    found = child.Process(["-c", code], tmp_path / "log.txt").ask("a line", tmp_path / "answer", limits)
    assert time.monotonic() - begin < 30
    assert found is not None
    assert re.search(why, found)


_ANSWERS_WITH_ITS_NUMBER = """
import os, pathlib, json, sys
for line in sys.stdin:
    request = json.loads(pathlib.Path(line.strip()).read_text())
    if request["target"] == "crash":
        os.abort()
    answer = pathlib.Path(request["answer"])
    answer.with_suffix(".tmp").write_text(str(os.getpid()))
    answer.with_suffix(".tmp").replace(answer)
"""


def test_a_process_is_kept_for_the_cells_of_its_system(tmp_path, monkeypatch):
    (tmp_path / "numbers_of_processes.py").write_text(_ANSWERS_WITH_ITS_NUMBER)
    monkeypatch.setattr(workers, "MODULE", "numbers_of_processes")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = workers.Workers()
    count = iter(range(99))

    def ask(name, target="cpu", *, more=True):
        scratch = tmp_path / str(next(count))
        scratch.mkdir()
        answer = scratch / "answer.json"
        request = {"name": name, "target": target, "answer": str(answer), "more": more}
        why = made(request, scratch, child.Limits(60, 2000 * _MIB))
        return why or int(answer.read_text())

    first = ask("a")
    assert ask("a") == first
    other = ask("b")
    assert other != first
    assert "signal 6" in ask("a", "crash")
    second = ask("a", more=False)
    assert second != first, "what crashed took one cell with it"
    assert not psutil.pid_exists(second), "nobody waits for it any more"
    assert ask("b") == other, "and no other system's process"
    made.close()
    assert not psutil.pid_exists(other)


def test_two_processes_are_at_two_systems():
    one, two = "one", "two"
    pairs = [(one, "a"), (one, "b"), (two, "a"), (two, "b")]
    todo = [1, 2, 3]
    assert matrix._next(todo, [one], pairs) == 2
    assert matrix._next([1], [one], pairs) == 1
    assert todo == [1, 3]


def test_words():
    left = [
        Left(op="GATHER", count=2, reason="no table lookup"),
        Left(op="CAST", count=1, reason="why | not"),
    ]
    parts = [
        PartCell(part="encoder", precision="int8-static", accelerator=20, cpu=3, macs=0.9999, left=left),
        PartCell(part="decoder", precision="int8-static", accelerator=20, cpu=0, macs=1.0),
    ]
    cells = [
        cell(TARGETS[0], parts=[PartCell(part="main", precision="fp32", rounded=["int8-dynamic"])]),
        of_error(NAME, "04", "tiny", TARGETS[1], EdgepackError("ScatterElements has no translation")),
        cell(TARGETS[2], "partly", parts=parts),
    ]
    found = Matrix(command="edgepack zoo matrix", targets=list(TARGETS), cells=cells)
    assert [*shown.rows(found)] == [["04", NAME, "fp32, int8", "blocked", "99.9 % of MACs, 3 on CPU"]]
    page = shown.put(f"a\n{shown.PLACE.begin}\nold\n{shown.PLACE.end}\nb", found)
    assert "old" not in page
    assert "mobile:litert: blocked: ScatterElements has no translation" in page
    assert "part encoder, int8-static, on the CPU: 2 GATHER (no table lookup); 1 CAST (why \\| not)" in page
    assert "1 of 1 systems have at least 95%" in page
    assert "cpu:onnxruntime: 1 of 1 systems run" in page
    with pytest.raises(UsageError, match="markers"):
        shown.put("nothing", found)


def test_what_is_wrong_with_a_request_is_said(tmp_path):
    with pytest.raises(UnknownNameError, match="target"):
        matrix.run(matrix.Wanted(tmp_path, ("npu:nothing",)), print)
    with pytest.raises(UnknownNameError, match="architecture"):
        matrix.run(matrix.Wanted(tmp_path, TARGETS, ("nothing",)), print)
    with pytest.raises(UsageError, match="not positive"):
        matrix.run(matrix.Wanted(tmp_path, TARGETS, (NAME,), time_limit_s=0), print)


def test_all_installed_targets_but_one_of_a_kind():
    found = matrix.chosen_targets(())
    assert {"cpu:onnxruntime", "mobile:litert", "npu:ethos-u85-512"} <= set(found)
    assert not matrix.REPRESENTED & set(found)
    assert found[0].startswith("cpu:")
    assert found[-1].startswith("npu:")


@pytest.mark.slow
def test_a_real_cell(tmp_path):
    wanted = matrix.Wanted(tmp_path, ("cpu:onnxruntime",), (NAME,), time_limit_s=300)
    found = matrix.run(wanted, lambda *_: None)
    (only,) = found.cells
    assert only.outcome == "runs", only.why
    assert [part.part for part in only.parts] == ["encoder", "decoder"]
    assert all("int8-dynamic" in part.rounded for part in only.parts)
    assert json.loads(found.model_dump_json())["cells"][0]["seconds"] > 0
