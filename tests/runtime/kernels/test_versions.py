"""One library serves every release of ONNX Runtime from 1.17 on.

`EDGEPACK_RUNTIMES` names interpreters that have another onnxruntime (with colons between them); this
one's is always tested. Each computes the same file with the kernel and with the fallback, is given a
file to refuse, and ends well.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.runtime.kernels.layers import BinaryLayer, model_of

INTERPRETERS = [sys.executable, *filter(None, os.environ.get("EDGEPACK_RUNTIMES", "").split(os.pathsep))]

# Runs where edgepack is not installed
CODE = """
import sys
import numpy, onnxruntime

library, folder = sys.argv[1:]
x, expected = numpy.load(folder + "/x.npy"), numpy.load(folder + "/expected.npy")

def opened(name, native, threads=1):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    if native:
        options.register_custom_ops_library(library)
    return onnxruntime.InferenceSession(folder + "/" + name, options, providers=["CPUExecutionProvider"])

for threads in (1, 2):
    (y,) = opened("native.onnx", True, threads).run(None, {"x": x})
    assert numpy.array_equal(y, expected), "native"
(y,) = opened("both.onnx", True).run(None, {"x": x})
assert numpy.array_equal(y, expected), "native, with a fallback in the file"
(y,) = opened("both.onnx", False).run(None, {"x": x})
assert numpy.array_equal(y, expected), "fallback"
for name, words in (("wrong.onnx", "alpha has the shape [3]"), ("zero.onnx", "the attribute K must be")):
    try:
        opened(name, True)
    except Exception as error:
        assert words in str(error), error
    else:
        raise AssertionError(name + " is accepted")
print(onnxruntime.__version__)
"""


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_the_library_in_every_release(interpreter: str, library: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    layer = BinaryLayer.random(rng, 300, 515)
    x = rng.standard_normal((90, 515)).astype(np.float32)
    onnx.save(layer.model(), tmp_path / "native.onnx")
    onnx.save(layer.model(fallback=True), tmp_path / "both.onnx")
    onnx.save(model_of({**layer.inputs(), "alpha": np.ones(3, np.float32)}, 515), tmp_path / "wrong.onnx")
    onnx.save(model_of(layer.inputs(), 0), tmp_path / "zero.onnx")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "expected.npy", layer.expected(x))
    done = subprocess.run(
        [interpreter, "-c", CODE, library, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert tuple(map(int, done.stdout.split(".")[:2])) >= (1, 17)
