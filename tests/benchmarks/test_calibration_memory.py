"""Calibration streams: thousands of samples take no more memory than a few."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]
# 48 KiB a sample: 4,096 of them are 192 MiB, and as arrays in lists they would show.
CHILD = """
import json, pathlib, resource, sys, tempfile
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from edgepack.quantize.base import quantizers
from edgepack.quantize import data
from edgepack.toolchain.program import Case, Lowered, Part, Signature, TensorSpec

count = int(sys.argv[1])
folder = pathlib.Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)
weight = numpy_helper.from_array(rng.standard_normal((64, 3, 5, 5)).astype(np.float32), "w")
shapes = {"x": [1, 3, 64, 64], "y": [1, 64, 60, 60]}
info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], name="conv")], "g", info[:1], info[1:], [weight])
path = folder / "main.onnx"
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
signature = Signature((TensorSpec("x", "float32", (1, 3, 64, 64)),), (TensorSpec("y", "float32", (1, 64, 60, 60)),))
(folder / "samples.py").write_text(
    "import numpy as np\\n"
    "def make():\\n"
    "    rng = np.random.default_rng(1)\\n"
    f"    return ({{'x': rng.standard_normal((1, 3, 64, 64)).astype(np.float32)}} for _ in range({2 * count}))\\n"
)
part = Part("main", path, signature, [Case("", {}, {})])
samples = data.load(f"{folder / 'samples.py'}:make", part, {}, "model.onnx", count)
assert samples.facts.samples == count
lowered = Lowered("main", "onnx", path, signature)
made = quantizers.get("onnx-static")().quantize(lowered, "int8-static", samples, folder, stem=False)
print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "changed": made.changed_nodes}))
"""


def peak(count):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(count)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["changed"] > 0
    return answer["peak"]


def test_4096_samples_take_no_more_memory_than_16():
    few, many = peak(16), peak(4096)
    print(f"\npeak with 16 samples {few / 2**20:.0f} MiB, with 4096 {many / 2**20:.0f} MiB")
    assert many - few <= 200 * 2**20
