"""Clean-up and packaging of large models: memory of a fresh process, and time on MiniLM-sized weights."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.passes.weights import nan_or_inf

pytestmark = pytest.mark.benchmark

LAYERS, WIDTH = 64, 2048  # 64 weights of 16 MiB: 1 GiB
LIMIT_MIB = 300


def tell(line: str) -> None:
    """A figure for whoever runs the benchmarks (pytest -s)."""
    sys.stdout.write(f"\n{line}\n")


CHILD = """
import json, sys
from pathlib import Path

def memory():
    lines = (line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {key: int(value.split()[0]) / 1024 for key, value in lines if key in {"VmHWM", "RssFile", "RssAnon"}}

start = memory()
import onnx_ir as ir
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.passes.storage import save
from edgepack.toolchain.passes.weights import nan_or_inf

model = ir.load(sys.argv[1])
bad = nan_or_inf(model)
counts = clean_up(model)
path = save(model, Path(sys.argv[2]), "main")
print(json.dumps({"start": start, "end": memory(), "counts": counts, "bad": bad, "path": str(path)}))
"""


@pytest.fixture
def gibibyte(tmp_path):
    """LAYERS times x = Tanh(MatMul(x, Transpose(w))), the last two weights equal, in 1 GiB of data."""
    rng = np.random.default_rng(0)
    weights, nodes, name = [], [], "x"
    weight = np.empty((WIDTH, WIDTH), np.float32)
    with (tmp_path / "weights.bin").open("wb") as file:
        for layer in range(LAYERS):
            if layer < LAYERS - 1:
                weight = rng.standard_normal((WIDTH, WIDTH), dtype=np.float32) / np.float32(WIDTH**0.5)
            tensor = onnx.TensorProto(name=f"w{layer}", data_type=1, dims=weight.shape)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            place = {"location": "weights.bin", "offset": file.tell(), "length": weight.nbytes}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            file.write(weight.data)
            weights.append(tensor)
            nodes += [
                onnx.helper.make_node("Transpose", [f"w{layer}"], [f"t{layer}"], perm=[1, 0]),
                onnx.helper.make_node("MatMul", [name, f"t{layer}"], [f"m{layer}"]),
                onnx.helper.make_node("Tanh", [f"m{layer}"], [f"y{layer}"]),
            ]
            name = f"y{layer}"
    graph = onnx.helper.make_graph(
        nodes,
        "layers",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", WIDTH])],
        [onnx.helper.make_tensor_value_info(name, 1, ["n", WIDTH])],
        weights,
    )
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, ir_version=9, opset_imports=[opset]), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_one_gibibyte_stays_within_its_limit(gibibyte, tmp_path):
    out = subprocess.run(
        [sys.executable, "-c", CHILD, gibibyte, tmp_path / "out"], capture_output=True, text=True, check=True
    )
    result = json.loads(out.stdout)
    over = result["end"]["VmHWM"] - result["start"]["VmHWM"]
    tell(f"1 GiB of weights: peak {over:.0f} MiB over the bare interpreter (limit {LIMIT_MIB})")
    assert result["bad"] == []
    assert result["counts"]["duplicate-initializers"] == 1
    assert result["counts"]["transposed-weights"] >= LAYERS - 2
    size = (tmp_path / "out" / "main.onnx.data").stat().st_size
    assert size == pytest.approx((LAYERS - 1) * WIDTH * WIDTH * 4, rel=0.01)
    # Stricter than asked: mapped weights would count here too, were any mapped.
    assert over <= LIMIT_MIB


def test_checking_90_mb_takes_a_tenth_of_a_second(tmp_path):
    values = np.random.default_rng(0).standard_normal(90_000_000 // 4).astype(np.float32)
    (tmp_path / "w.bin").write_bytes(values.data)
    text = '<ir_version: 9, opset_import: ["": 18]> g (float[n] x) => (float[n] y) { y = Add(x, w) }'
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    tensor = ir.ExternalTensor(
        "w.bin",
        0,
        values.nbytes,
        ir.DataType.FLOAT,
        shape=ir.Shape(values.shape),
        name="w",
        base_dir=tmp_path,
    )
    model.graph.register_initializer(ir.Value(name="w", const_value=tensor))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        assert nan_or_inf(model) == []
        times.append(time.perf_counter() - start)
    tell(f"90 MB checked for NaN in {min(times) * 1e3:.0f} ms (best of 5)")
    assert min(times) <= 0.1


LAYER = """
m{i} = MatMul(h{i}, w)  b{i} = Add(m{i}, v)  s{i} = Shape<end=2>(b{i})
r{i} = Concat<axis=0>(s{i}, k, l)  p{i} = Reshape(b{i}, r{i})
t{i} = Transpose<perm=[0,2,1,3]>(p{i})  u{i} = Transpose<perm=[0,2,1,3]>(t{i})
q{i} = Concat<axis=0>(s{i}, n)  z{i} = Reshape(u{i}, q{i})  h{j} = Gelu(z{i})"""

ENCODER = """<ir_version: 9, opset_import: ["": 20]>
g (float[batch,seq,2] h0) => (float[batch,seq,2] h30)
<float[2,2] w = {1,2,3,4}, float[2] v = {1,2}, int64[1] k = {1}, int64[1] l = {2}, int64[1] n = {2}> {"""

TIMED = """
import sys, time
import onnx, onnx_ir as ir
model = ir.serde.deserialize_model(onnx.parser.parse_model(sys.argv[1]))
start = time.perf_counter()
from edgepack.toolchain.passes.clean_up import clean_up
clean_up(model)
print(time.perf_counter() - start, len(model.graph))
"""


def test_cleaning_up_300_nodes_takes_half_a_second():
    """Imports included: a fresh process in which only onnx_ir, which loads the graph, is already there."""
    text = ENCODER + "".join(LAYER.format(i=i, j=i + 1) for i in range(30)) + "}"
    times = []
    for _ in range(5):
        command = [sys.executable, "-c", TIMED, text]
        seconds, nodes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert nodes == "300"
        times.append(float(seconds))
    tell(f"300 nodes cleaned up in {min(times) * 1e3:.0f} ms, imports included (best of 5)")
    assert min(times) <= 0.5


def test_clean_up_is_quick_once_imported():
    text = '<ir_version: 9, opset_import: ["": 18]> g (float[n] x) => (float[n] y) {{ {} }}'
    body = "a0 = Relu(x) " + " ".join(f"a{i + 1} = Neg(a{i})" for i in range(2000)) + " y = Exp(a2000)"
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text.format(body)))
    clean_up(ir.serde.deserialize_model(onnx.parser.parse_model(text.format("y = Relu(x)"))))
    start = time.perf_counter()
    clean_up(model)
    seconds = time.perf_counter() - start
    tell(f"2,002 nodes cleaned up in {seconds * 1e3:.0f} ms")
    assert seconds <= 2
