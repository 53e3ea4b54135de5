"""`edgepack explain` for compilers in isolated environments, where those have been made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from edgepack.toolchain.cli import app
from edgepack.toolchain.explain.results import Explanation
from edgepack.toolchain.vendors import k230, qnn, rknn

TEXT = """<ir_version: 9, opset_import: ["": 19]>
g (float[1,16,32] x) => (float[1,16,32] y) {
  h = MatMul(x, w)
  s = OP(h)
  m = MatMul(s, w)
  y = Add(m, x)
}"""
HTP = pytest.mark.skipif(qnn.ENVIRONMENT.state() != "ready", reason=f"{qnn.SETUP} makes its environment")
ROCKCHIP = pytest.mark.skipif(
    rknn.ENVIRONMENT.state() != "ready", reason=f"{rknn.SETUP} makes its environment"
)
KENDRYTE = pytest.mark.skipif(
    k230.ENVIRONMENT.state() != "ready", reason=f"{k230.SETUP} makes its environment"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "op", "precision", "reason"),
    [
        pytest.param("npu:qnn-htp-v75", "Sinh", "int16x8-static", "not supported by QNN EP", marks=HTP),
        pytest.param("npu:rk3588", "Erf", "fp16", "the compiler gave it to the CPU", marks=ROCKCHIP),
        pytest.param("npu:k230", "Sinh", "int8-static", "the compiler gave it to the CPU", marks=KENDRYTE),
    ],
)
def test_what_stays_off_and_a_small_model_that_shows_it(
    target: str, op: str, precision: str, reason: str, tmp_path: Path
) -> None:
    proto = onnx.parser.parse_model(TEXT.replace("OP", op))
    values = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(values / 6, "w"))
    for index, node in enumerate(proto.graph.node):
        node.name = f"node_{index}"
    onnx.save(proto, tmp_path / "model.onnx")
    save = tmp_path / "problems"
    options = ["--precision", precision, "--save", str(save), "--json", "--quiet"]
    done = CliRunner().invoke(app, ["explain", str(tmp_path / "model.onnx"), "--target", target, *options])
    assert done.exit_code == 0, done.output
    (form,) = Explanation.model_validate(json.loads(done.stdout)).forms
    assert form.accelerator > 0
    problem = next(problem for problem in form.problems if problem.op == op)
    assert len(problem.nodes) == 1
    assert reason in problem.reason
    assert problem.cure
    assert problem.smallest is not None, problem
    assert op in {node.op_type for node in onnx.load(save / problem.smallest).graph.node}
