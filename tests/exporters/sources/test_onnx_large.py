"""More than 2 GB of weights go from the source to the runtime without being held in memory."""

import os
import subprocess
import sys

import onnx
import pytest
from onnx import TensorProto, helper

# The weights are a hole in the file, which costs neither disk nor time: 2.25 GiB of zeros, used row by row.
ROWS, WIDTH = 9 << 16, 1024

CHILD = """
import resource, sys
from pathlib import Path
import numpy as np
from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.runtime.sessions.onnxruntime import OnnxRuntimeSession
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.passes.storage import save

folder = Path(sys.argv[1])
source = open_source(SourceRequest(str(folder / "model.onnx"), inputs=("ids:int64[n=3]",)))
source.check()
program = source.program(folder)
part = program.parts["main"]
model = part.model()
clean_up(model)
path = save(model, folder, "main")
with OnnxRuntimeSession(path, part.signature) as session:
    got = session.run({"ids": np.array([0, 589_823], np.int64)})["y"]
assert got.shape == (2, 1024) and got[0, 5] == 1.0 and got[1, -1] == 8.0, got
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
anonymous = next(int(l.split()[1]) >> 10 for l in open("/proc/self/status") if l.startswith("RssAnon"))
print("notes", program.notes)
print("weights", program.source["weight_bytes"], "anonymous", anonymous)
assert anonymous < 700, anonymous
"""


@pytest.mark.slow
@pytest.mark.parametrize("opset", [11, 18])
def test_weights_beyond_2_gb_in_external_data(tmp_path, opset):
    weights = tmp_path / "weights.bin"
    size = ROWS * WIDTH * 4
    weights.touch()
    os.truncate(weights, size)
    with weights.open("r+b") as file:
        file.seek(5 * 4)
        file.write(b"\x00\x00\x80\x3f")
        file.seek(size - 4)
        file.write(b"\x00\x00\x00\x41")
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[ROWS, WIDTH])
    table.data_location = TensorProto.EXTERNAL
    table.external_data.add(key="location", value="weights.bin")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        "large",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", WIDTH])],
        [table],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert not onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.initializer[0].raw_data
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"weights {size}" in done.stdout
    assert ("operator set 11 converted to 18" in done.stdout) == (opset == 11)
    # Nothing was copied: the weights lie in the model's folder already.
    data = [file.name for file in tmp_path.iterdir() if file.stat().st_size > 1 << 20]
    assert data == ["weights.bin"]
