"""The runtimes' own benchmark tools, as programs that behave like them: what is asked, read and refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgepack.toolchain.devices import page, profiling, settings, shown
from edgepack.toolchain.devices.tools import BenchmarkModel, ExecutorRunner
from edgepack.toolchain.errors import DeviceError, GateError, TargetError, UnknownNameError, UsageError
from edgepack.toolchain.report import text
from tests.runtime.devices.sshd import server

SHORT = settings.Settings(min_samples=40, min_seconds=0.1, max_seconds=5.0)
# ExecuTorch's: computes y = relu(x @ w) of the bundle's own file by ONNX Runtime, with its flags and its words.
RUNNER = """#!{python}
import sys
import numpy as np, onnxruntime
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])
assert set(flags) <= {{"model_path", "inputs", "cpu_threads", "num_executions", "output_file"}}, flags
print("I 00:00:00.000 executorch:executor_runner.cpp:100] Model file is loaded.")
session = onnxruntime.InferenceSession(flags["model_path"], providers=["CPUExecutionProvider"])
x = np.fromfile(flags["inputs"], np.float32).reshape(-1, 8)
y = session.run(["y"], {{"x": x}})[0] {wrong}
count = int(flags["num_executions"])
took = f"{{2.5 * count:f}} ms."
print(f"I 00:00:00.001 executorch:executor_runner.cpp:380] Model executed successfully {{count}} time(s) in {{took}}")
if "output_file" in flags:
    y.tofile(flags["output_file"] + "-0.bin")
"""
LITERT = """#!/bin/sh
echo "$@" >>{log}
cat <<'X'
INFO: STARTING!
INFO: Loaded model bundle/main.tflite
INFO: Initialized session in 3.501ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=12 first=156677 curr=33205 min=32578 max=156677 avg=43268.1 std=34197

INFO: Running benchmark for at least 40 iterations and at least 0.1 seconds but terminate if exceeding 5 seconds.
INFO: count=50 first=33228 curr=33130 min=32687 max=33239 avg=33071.8 std=129{more}

INFO: Inference timings in us: Init: 3501, First inference: 156677, Warmup (avg): 43268.1, Inference (avg): 33071.8
X
"""


def program(path, content):
    path.write_text(content)
    path.chmod(0o755)
    return path


@pytest.fixture
def renamed(small_bundle, tmp_path):
    """The bundle with its model's file called as another runtime's."""

    def write(suffix):
        import shutil

        import edgepack
        from edgepack.toolchain import files

        folder = tmp_path / f"bundle{suffix}"
        shutil.copytree(small_bundle.path, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        run = manifest["artifacts"][0]["run"]
        old = run["file"]
        new = str(Path(old).with_suffix(suffix))
        (folder / old).rename(folder / new)
        manifest["files"][new] = manifest["files"].pop(old)
        run["file"], run["session"] = new, "another"
        manifest["artifacts"][0]["files"] = [new]
        (folder / "manifest.json").write_text(json.dumps(manifest))
        assert files.hash_file(folder / new).sha256 == manifest["files"][new]["sha256"]
        return edgepack.load(folder)

    return write


@pytest.mark.system("openssh-server")
def test_executorch_s_runner_over_ssh(renamed, tmp_path):
    """Outputs of every recorded call are checked; then the mean, from as many executions as fill the time."""
    runner = program(tmp_path / "executor_runner", RUNNER.format(python=sys.executable, wrong=""))
    with server(tmp_path) as sshd:
        found = profiling.profile(
            renamed(".pte"), sshd.address, SHORT, workdir=f"{tmp_path}/a 'device'", ssh_config=sshd.config,
            tools={"executor_runner": runner},
        )  # fmt: skip
    (target,) = found.targets
    assert target.parity["main"].passed
    assert target.parity["main"].inputs_tried >= 3
    (one,) = target.measured
    assert (one.tool.mean_ms, one.tool.calls, one.latency) == (2.5, 40, None)
    assert one.calls_per_s == 400
    assert found.device.environment.cpu_model != "unknown"
    assert one.before is not None
    assert not list(Path(tmp_path, "a 'device'", "runs").iterdir())
    html = page.html(text.cleaned(found)).decode()
    assert "executor_runner" in html
    assert "Measured by the runtime&#39;s own tool" in html or "runtime's own tool" in html
    assert shown.terminal(text.cleaned(found))


def test_its_outputs_are_judged(renamed, tmp_path):
    runner = program(tmp_path / "executor_runner", RUNNER.format(python=sys.executable, wrong="+ 1"))
    with pytest.raises(GateError, match="other outputs"):
        profiling.profile(
            renamed(".pte"), "local", SHORT, workdir=f"{tmp_path}/device", tools={"executor_runner": runner}
        )


def test_litert_s_benchmark(renamed, tmp_path):
    tool = program(tmp_path / "benchmark_model", LITERT.format(log=tmp_path / "asked", more=""))
    found = profiling.profile(
        renamed(".tflite"), "local", SHORT, workdir=f"{tmp_path}/device", tools={"benchmark_model": tool}
    )
    (target,) = found.targets
    assert target.parity == {}
    (one,) = target.measured
    assert one.tool.mean_ms == pytest.approx(33.0718)
    assert (one.tool.min_ms, one.tool.max_ms, one.tool.std_ms) == (32.687, 33.239, 0.129)
    assert (one.tool.first_run_ms, one.tool.load_ms, one.tool.calls) == (156.677, 3.501, 50)
    assert any("no outputs to check" in note for note in one.notes)
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    model, *rest = asked.split()
    assert model.startswith("--graph=")
    assert model.endswith(".tflite")
    assert rest == ["--num_threads=1", "--num_runs=40", "--min_secs=0.1", "--max_secs=5"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "#!/bin/sh\necho no such library >&2; exit 127\n",
            r"exit code 127.*no such library.*built for the device",
        ),
        ("#!/bin/sh\necho nothing of interest\n", "did not say what it measured: nothing of interest"),
        ("#!/bin/sh\n:\n", "it said nothing"),
        ("\x7fELF junk", "exit code 126|exit code 127|did not say"),
    ],
)
def test_tools_that_fail(renamed, tmp_path, content, said):
    tool = program(tmp_path / "benchmark_model", content)
    with pytest.raises(DeviceError, match=said):
        profiling.profile(
            renamed(".tflite"), "local", SHORT, workdir=f"{tmp_path}/device", tools={"benchmark_model": tool}
        )
    assert not list(Path(tmp_path, "device", "runs").iterdir())


SUMMARY = "Inference timings in us: Init: 1, First inference: 2, Warmup (avg): 3, Inference (avg): {}\n"


@pytest.mark.parametrize(
    "log",
    [
        "",
        SUMMARY.format(5),
        "count=9 first=1 curr=1 min=1 max=1 avg=5 std=0\n",
        "count=9 first=1 curr=1 min=1 max=1 avg=5 std=0\n" + SUMMARY.format(6),
        "count=9 first=1 curr=1 min=1 max=1 avg=5 std=0\n" + SUMMARY.format(5) * 2,
        "count=9 first=1 curr=1 min=1 max=1 avg=nan std=0\n" + SUMMARY.format("nan"),
        "count=9 first=1 curr=1 min=1 max=1 avg=0 std=0\n" + SUMMARY.format(0),
    ],
)
def test_words_of_litert_that_are_no_figure(log):
    with pytest.raises(DeviceError, match="did not say what it measured"):
        BenchmarkModel().read(log)


def test_words_of_newer_and_of_single_runs():
    newer = (
        "count=25 first=187533 curr=140990 min=140071 max=195121 avg=145528 std=13583 "
        "p5=140545 median=141253 p95=187533\n"
    )
    found = BenchmarkModel().read(newer + SUMMARY.format(145528))
    assert (found.median_ms, found.p95_ms) == (141.253, 187.533)
    single = BenchmarkModel().read("count=1 curr=5020\n" + SUMMARY.format(5020))
    assert (single.mean_ms, single.calls, single.std_ms) == (5.02, 1, None)


@pytest.mark.parametrize(
    "log",
    [
        "",
        "Model executed successfully 10 time(s).\n",
        "Model executed successfully 0 time(s) in 1.0 ms.\n",
        "Model executed successfully 10 time(s) in 0.0 ms.\n",
        "Model executed successfully 10 time(s) in 1.0 ms.\n" * 2,
    ],
)
def test_words_of_executorch_that_are_no_figure(log):
    with pytest.raises(DeviceError, match="did not say what it measured"):
        ExecutorRunner().read(log)


def test_how_often_it_executes():
    asked = [
        ExecutorRunner().measure_words("m", 2, 1, settings.Settings(min_seconds=1.0, max_seconds=20.0), once)[
            -1
        ]
        for once in (0.0001, 2.5, 100.0, 60_000.0)
    ]
    assert asked == [f"--num_executions={n}" for n in (1_000_000, 400, 100, 1)]


def test_what_makes_no_sense(renamed, small_bundle, tmp_path):
    given = {"workdir": f"{tmp_path}/device"}
    with pytest.raises(UsageError, match="no such program"):
        profiling.profile(
            renamed(".pte"), "local", SHORT, tools={"executor_runner": tmp_path / "none"}, **given
        )
    with pytest.raises(UnknownNameError, match="perf"):
        profiling.profile(small_bundle, "local", SHORT, tools={"perf": tmp_path}, **given)
    with pytest.raises(TargetError, match="the runner has no another"):
        profiling.profile(renamed(".tflite"), "local", SHORT, tools={"executor_runner": tmp_path}, **given)
