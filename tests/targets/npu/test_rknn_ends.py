"""What a Rockchip NPU's runtime converts is taken out of the graph at its ends, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.rknn import RknnSession
from edgepack.targets.base import Context, targets
from edgepack.targets.npu._rknn_ends import float_inputs, open_outputs
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.results import Calibration
from tests.rknn_models import pretend

HEADER = '<ir_version: 9, opset_import: ["": 18]>\n'
BOTH = """g (int64[1,9] n, float[1,4,3,3] x, int64[1,4,1,1] m) => (float[1,2] y) {
  f = Cast<to=1>(m)
  c = Mul(x, f)
  p = GlobalAveragePool(c)
  s = Conv(p, w)
  y = Flatten(s)
}"""


def parsed(text: str) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(HEADER + text)
    if "w)" in text:
        weights = np.random.default_rng(0).standard_normal((2, 4, 1, 1)).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return proto


def graph(text: str) -> ir.Model:
    model = ir.serde.deserialize_model(parsed(text))
    clean_up(model)
    return model


def test_both_ends() -> None:
    model = graph(BOTH)
    assert float_inputs(model) == ["m"]
    assert open_outputs(model) == {"y": (1, 2, 1, 1)}
    assert [node.op_type for node in model.graph] == ["Mul", "GlobalAveragePool", "Conv"]
    assert [str(value.dtype) for value in model.graph.inputs] == ["INT64", "FLOAT", "FLOAT"]
    assert [(value.name, list(value.shape or ())) for value in model.graph.outputs] == [("y", [1, 2, 1, 1])]
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)


@pytest.mark.parametrize(
    "text",
    [
        # an integer that something else reads, and one that becomes a truth value
        """g (float[4,2] t, int64[2] i) => (float[2,2] y, float[2] z) { y = Gather(t, i)  f = Cast<to=1>(i)
           z = Relu(f) }""",
        "g (int64[2] i) => (bool[2] y) { y = Cast<to=9>(i) }",
        "g (int64[2] i) => (float[2] y) { y = Cast<to=1>(i) }",
        # rows of more than a pixel, and a row that somebody else reads as an image
        "g (float[1,4,2,2] x) => (float[1,16] y) { r = Relu(x)  y = Flatten(r) }",
        "g (float[1,4,1,1] x) => (float[1,4] y, float[1,4,1,1] z) { r = Relu(x)  y = Flatten(r)  z = Sqrt(r) }",
        "g (float[1,4,1,1] x) => (float[1,4] y) { y = Flatten(x) }",
    ],
)
def test_nothing_else(text: str) -> None:
    model = graph(text)
    before = len(model.graph)
    assert float_inputs(model) == []
    assert open_outputs(model) == {}
    assert len(model.graph) == before


def test_what_the_toolkit_is_given_and_sessions_convert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = Signature(
        (
            TensorSpec("n", "int64", (1, 9)),
            TensorSpec("x", "float32", (1, 4, 3, 3)),
            TensorSpec("m", "int64", (1, 4, 1, 1)),
        ),
        (TensorSpec("y", "float32", (1, 2)),),
    )
    (tmp_path / "f").mkdir()
    onnx.save(parsed(BOTH), tmp_path / "f" / "main.onnx")
    feeds = [
        {
            "n": np.zeros((1, 9), np.int64),
            "x": np.full((1, 4, 3, 3), n, np.float32),
            "m": np.array([1, 0, 1, n]).reshape(1, 4, 1, 1),
        }
        for n in range(1, 5)
    ]
    data = CalibrationData(Calibration(kind="user", description="", samples=4, held_out=0), feeds, [], "")
    lowered = quantizers.get("rknn")().quantize(
        Lowered("main", "onnx", tmp_path / "f" / "main.onnx", signature), "int8-static", data, tmp_path / "q"
    )
    check = (
        "import numpy as np\n"
        "given = list(np.load(request['samples']).values())\n"
        "assert [str(a.dtype) for a in given] == ['float32', 'float32'], given\n"
        "assert given[1][:, 0, 3, 0, 0].tolist() == [1, 2, 3, 4]\n"
        "graph = open(request['model'], 'rb').read()\n"
        "assert b'Flatten' not in graph and b'Cast' not in graph\n"
    )
    serve = (
        "import numpy as np\n"
        "print(json.dumps({'ok': True, 'versions': {}}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    call = json.loads(line)\n"
        "    given = list(np.load(call['inputs']).values())\n"
        "    assert [str(a.dtype) for a in given] == ['float32', 'float32']\n"
        "    np.savez(call['outputs'], given[1].reshape(-1)[2:].reshape(1, 2, 1, 1))\n"
        "    print(json.dumps({'ok': True}), flush=True)\n"
    )
    indented = "".join(f"    {line}\n" for line in serve.splitlines())
    pretend(
        monkeypatch, tmp_path / "e", f"{check}if what == 'run':\n{indented}else:\n    wrote(); answer()\n"
    )
    out = tmp_path / "out"
    compiled = targets.get("npu:rk3588")().compile(lowered, Context({}, {}, 60), out)
    assert "the .rknn does not take n: nothing in it reads it" in compiled.notes
    assert "the .rknn takes m as float32: the same numbers" in compiled.notes
    assert "the .rknn gives y as [1, 2, 1, 1]: the same numbers in the same order" in compiled.notes
    with RknnSession(out / compiled.run_file, signature) as session:
        got = session.run(feeds[2])["y"]
    assert got.tolist() == [[1, 3]]
