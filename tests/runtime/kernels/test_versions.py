"""One library serves every release of ONNX Runtime from 1.17 on.

Each release computes the same files with the kernels and with the fallbacks, on one thread and on two, is
given files to refuse, and ends well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.runtime.kernels.convolutions import random_convolution
from tests.runtime.kernels.layers import BinaryLayer, model_of
from tests.runtime.kernels.releases import RELEASES, environment_of

# Runs where edgepack is not installed
CODE = """
import json, sys
import numpy, onnxruntime

library, folder = sys.argv[1:]

def opened(name, native, threads=1):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    if native:
        options.register_custom_ops_library(library)
    return onnxruntime.InferenceSession(folder + "/" + name, options, providers=["CPUExecutionProvider"])

def check(name, layer, native, threads=1):
    x, expected = (numpy.load(folder + "/" + layer + "-" + one + ".npy") for one in ("x", "y"))
    (y,) = opened(layer + "-" + name + ".onnx", native, threads).run(None, {"x": x})
    assert numpy.array_equal(y, expected), (layer, name, native, threads)

for layer in ("linear", "conv"):
    for threads in (1, 2):
        check("native", layer, True, threads)
    check("both", layer, True)
    check("both", layer, False)
for name, words in json.load(open(folder + "/wrong.json")):
    try:
        opened(name, True)
    except Exception as error:
        assert words in str(error), error
    else:
        raise AssertionError(name + " is accepted")
print(onnxruntime.__version__)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both layers, large enough for their work to be shared among threads, and files to refuse."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    linear = BinaryLayer.random(rng, 300, 515)
    conv = random_convolution(rng, 40, 33, strides=(2, 1))
    conv.alpha[:] = 2.0 ** rng.integers(-3, 3, 40)  # no order of roundings can tell these apart
    conv.bias[:] = np.round(conv.bias)
    xs = {"linear": rng.standard_normal((90, 515)), "conv": rng.standard_normal((2, 33, 30, 31))}
    for name, layer in (("linear", linear), ("conv", conv)):
        x = xs[name].astype(np.float32)
        onnx.save(layer.model(), folder / f"{name}-native.onnx")
        onnx.save(layer.model(fallback=True), folder / f"{name}-both.onnx")
        np.save(folder / f"{name}-x.npy", x)
        np.save(folder / f"{name}-y.npy", layer.expected(x))
    onnx.save(model_of({**linear.inputs(), "alpha": np.ones(3, np.float32)}, 515), folder / "alpha.onnx")
    onnx.save(model_of(linear.inputs(), 0), folder / "zero.onnx")
    onnx.save(conv.model(bias=np.ones((40, 1), np.float32)), folder / "bias.onnx")
    wrong = [
        ("alpha.onnx", "alpha has the shape [3]"),
        ("zero.onnx", "the attribute K must be"),
        ("bias.onnx", "bias has the shape [40, 1]"),
    ]
    (folder / "wrong.json").write_text(json.dumps(wrong))
    return folder


def run(files: Path, library: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CODE, library, files],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_library_in_this_release(library: Path, files: Path) -> None:
    assert run(files, library, dict(os.environ)) == onnxruntime.__version__


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
def test_the_library_in_every_release(release: str, library: Path, files: Path) -> None:
    assert run(files, library, environment_of(release)) == release
