"""The archive: the same bytes every time, and enough for a Python that has numpy and the runtime alone."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import asdict

import numpy as np
import pytest

from edgepack.runtime.devices.runner import archive
from edgepack.runtime.sessions.litert import LitertSession
from edgepack.toolchain import files
from edgepack.toolchain.answers import error_in, read_answer
from edgepack.toolchain.errors import DeviceError, SourceError
from edgepack.toolchain.pipeline import recording
from tests import tflite_models

# What edgepack needs on the host and a device lacks is refused; edgepack itself must be the archive's.
GUARD = """
import importlib.abc, runpy, sys
class Guard(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {"pydantic", "onnx", "onnx_ir", "torch", "platformdirs", "filelock", "typer", "rich", "jinja2"}:
            raise ImportError(f"{name} is not on the device")
sys.meta_path.insert(0, Guard())
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0])
import edgepack
assert "runner.pyz" in edgepack.__file__, edgepack.__file__
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def folder(tmp_path, linear):
    """A run's folder with a model and a request."""
    archive.write(tmp_path / archive.NAME)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    recording.write_calls(tmp_path / "cases.npz", [({"x": x}, {"y": x}), ({"x": x[:1]}, {"y": x[:1]})])
    np.savez(tmp_path / "feed.npz", x=x)
    path = linear(tmp_path)
    signature = {
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 4]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["batch", 4]}],
    }
    part = {
        "name": "main",
        "session": "onnxruntime",
        "file": path.name,
        "signature": signature,
        "cases": "cases.npz",
    }
    request = {
        "parts": [part], "links": [], "initial": None, "calls": None, "root": "/", "threads": 1,
        "sha256": {path.name: files.hash_file(path).sha256},
        "units": [{"name": "main", "linked": False, "calls": [{"part": "main"}], "feed": "feed.npz"}],
        "plans": ["as-is"], "min_samples": 30, "min_seconds": 0.0, "max_seconds": 2.0, "every_s": 0.05,
        "cool_down_s": 0.0,
    }  # fmt: skip
    (tmp_path / "request.json").write_text(json.dumps(request))
    return tmp_path


def run(folder, word):
    command = [sys.executable, "-c", GUARD, archive.NAME, word, "request.json"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_it_is_the_same_every_time(tmp_path):
    archive.write(tmp_path / "a")
    archive.write(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_size < 200_000
    names = zipfile.ZipFile(tmp_path / "a").namelist()
    assert "edgepack/runtime/sessions/litert.py" in names
    assert not [name for name in names if "pydantic" in name or "pycache" in name]


def test_it_checks_with_nothing_but_numpy_and_the_runtime(folder):
    done = run(folder, "check")
    assert done.returncode == 0, done.stderr
    answer = read_answer(folder / "result.json")
    assert answer["ok"], answer
    place = answer["outputs"]["main"]
    assert files.hash_file(folder / place["file"]).sha256 == place["sha256"]
    with np.load(folder / place["file"]) as arrays:
        assert sorted(arrays.files) == ["0/y", "1/y"]
        assert arrays["0/y"].tolist() == (2 * np.arange(8).reshape(2, 4)).tolist()
    assert answer["facts"]["packages"]["numpy"] == np.__version__


def test_litert_s_conversions_are_the_host_s(folder):
    """The file has its channels last, and the caller's images have them first."""
    lowered = tflite_models.cnn(folder / "cnn.tflite")
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32)
    recording.write_calls(folder / "cases.npz", [({"image": image}, {"logits": image})])
    request = json.loads((folder / "request.json").read_text())
    request["parts"][0] |= {"session": "litert", "file": "cnn.tflite", "signature": asdict(lowered.signature)}
    request["sha256"] = {"cnn.tflite": files.hash_file(folder / "cnn.tflite").sha256}
    (folder / "request.json").write_text(json.dumps(request))
    done = run(folder, "check")
    assert done.returncode == 0, done.stderr
    answer = read_answer(folder / "result.json")
    assert answer["ok"], answer
    with LitertSession(lowered.path, lowered.signature) as session:
        expected = session.run({"image": image})["logits"]
    with np.load(folder / answer["outputs"]["main"]["file"]) as arrays:
        assert arrays["0/logits"].tolist() == expected.tolist()


def test_a_file_that_is_another_one_is_not_opened(folder):
    model = next(folder.glob("*.onnx"))
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    for word in ("check", "measure"):
        assert run(folder, word).returncode == 0
        error = error_in(read_answer(folder / "result.json"))
        assert isinstance(error, DeviceError)
        assert "not the one that was sent" in str(error)


def test_a_model_that_the_runtime_refuses(folder):
    request = json.loads((folder / "request.json").read_text())
    request["parts"][0]["file"] = "feed.npz"
    (folder / "request.json").write_text(json.dumps(request))
    assert run(folder, "check").returncode == 0
    assert isinstance(error_in(read_answer(folder / "result.json")), SourceError)


def test_it_measures(folder):
    done = subprocess.run(
        [sys.executable, archive.NAME, "measure", "request.json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = read_answer(folder / "result.json")
    assert answer["ok"], answer
    (entry,) = answer["measured"]
    times = np.fromfile(folder / entry["samples"]["file"], np.float64)
    assert len(times) == entry["windows"][-1]["done"] >= 30
    assert (times > 0).all()
    memory = entry["memory"]
    assert 0 < memory["baseline_bytes"] <= memory["load_bytes"] <= memory["peak_bytes"] <= memory["end_bytes"]
    assert entry["load_ms"] > 0
    assert entry["warm_up"]["first_ms"] > 0
    assert [window["done"] for window in entry["windows"]] == sorted(
        window["done"] for window in entry["windows"]
    )


def test_an_old_python_is_told(tmp_path):
    archive.write(tmp_path / archive.NAME)
    main = zipfile.ZipFile(tmp_path / archive.NAME).read("__main__.py").decode()
    old = f"import sys\nsys.version_info = (3, 8, 10)\n{main}"
    done = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "edgepack's runner needs Python 3.10 or newer, and this is 3.8\n"


@pytest.mark.parametrize("words", [["check"], ["stop", "x"]])
def test_wrong_arguments(tmp_path, words):
    archive.write(tmp_path / archive.NAME)
    command = [sys.executable, str(tmp_path / archive.NAME), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "check|measure request.json" in done.stderr
