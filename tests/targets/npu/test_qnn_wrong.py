"""npu:qnn-htp-v75: what the HTP simulator computes wrongly as it is comes out right of the whole path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.qnn import QnnSession
from edgepack.targets.base import Context, targets
from edgepack.targets.npu.qnn import QnnHtp
from edgepack.toolchain.passes.storage import save
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.rewrites import base as rewriting
from edgepack.toolchain.vendors import qnn
from tests.qnn_models import samples

READY = qnn.ENVIRONMENT.state() == "ready"
pytestmark = pytest.mark.skipif(not READY, reason=f"no isolated environment 'qnn': {qnn.SETUP} makes it")

MODEL = """<ir_version: 9, opset_import: ["": 20]>
g (float[1,4,8] x, float[1,2,16] u, float[1,2,8,4] cache) =>
 (float[1,4,8] inverse, float[1,4,8] soft, float[1,2,8,4] next, float[1,4,8] share,
  float[1,4,8] norm, float[1,4,8] narrow)
<float one = {1}, float none = {0}, float small = {0.1}, float least = {0.05}, float three = {3},
 float six = {1.5}, int64[1,2,2,4] places = {2,2,2,2,5,5,5,5,2,2,2,2,5,5,5,5}, int64[4] heads = {1,2,2,4}>
{
    a = Abs(x)  p = Mul(a, small)  q = Add(p, least)  inverse = Reciprocal(q)
    n = Neg(a)  t = Exp(n)  s = Add(t, one)  l = Log(s)  h = Max(x, none)  soft = Add(h, l)
    w = Mul(u, three)  first, second = Split<axis = 2, num_outputs = 2>(w)
    r = Reshape(first, heads)  turned = Transpose<perm = [0, 2, 1, 3]>(r)
    next = ScatterElements<axis = 2>(cache, places, turned)
    c = Sub(a, one)  d = Relu(c)  e = Add(d, one)  share = Div(x, e)
    f = Mul(x, three)  i = Add(f, none)  norm = Relu(i)  k = Mul(x, three)  narrow = Clip(k, none, six)
}"""


@pytest.mark.parametrize(("precision", "bound"), [("int8-static", 0.03), ("int16x8-static", 0.002)])
def test_what_is_said_otherwise(precision: str, bound: float, tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(MODEL)
    shapes = {one.name: [d.dim_value for d in one.type.tensor_type.shape.dim] for one in proto.graph.input}
    rng = np.random.default_rng(5)
    feeds = [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(4)
    ]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    expected = onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, feeds[0])
    target = targets.get("npu:qnn-htp-v75")()
    assert isinstance(target, QnnHtp)
    device = target.rewrites_for(precision, {})
    model = ir.serde.deserialize_model(proto)
    wanted = [member.name for member in rewriting.in_order() if member.first(device)]
    done = {one.name for one in rewriting.apply(model, wanted, device)}
    assert done == {"reciprocal", "kept bounds"} | (
        {"logarithm of a sum"} if precision != "int8-static" else set()
    )
    face = Signature(
        tuple(TensorSpec(name, "float32", tuple(shape)) for name, shape in shapes.items()),
        tuple(
            TensorSpec(one.name, "float32", value.shape)
            for one, value in zip(proto.graph.output, expected, strict=True)
        ),
    )
    lowered = Lowered("main", "onnx", save(model, tmp_path / "l", "main"), face)
    data = CalibrationData(samples().facts, feeds, feeds, "")
    made = quantizers.get("qnn-qdq")().quantize(lowered, precision, data, tmp_path / "q")
    compiled = target.compile(made, Context(source={}, sizes={}, time_limit_s=120), tmp_path / "out")
    assert compiled.placement.cpu == 0
    with QnnSession(tmp_path / "out" / compiled.run_file, face) as session:
        got = session.run(feeds[0])
    for spec, value in zip(face.outputs, expected, strict=True):
        worst = np.abs(got[spec.name] - value).max() / np.abs(value).max()
        assert worst < bound, spec.name
