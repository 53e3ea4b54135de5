"""A graph cut where integers end: both sides together compute what the whole does, and sizes are nobody's input."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.splitting import core_side, find_cut, host_side

TEXT = """<ir_version: 9, opset_import: ["": OPSET]>
g (int64[batch,tokens] ids) => (float[batch,tokens,4] y, float[rest] z)
<int64[1] two = {2}, int64[1] axis = {0}> {
  e = Gather(table, ids)
  m = MatMul(e, w)
  s = Shape(ids)
  flat = Reshape(m, less)
  parts = Concat<axis=0>(s, two, two)
  folded = Reshape(flat, parts)
  back = Concat<axis=0>(s, four)
  y = Reshape(folded, back)
  n = Shape<start=1>(ids)
  some = Slice(flat, axis, n, axis)
  z = Sqrt(some)
}"""


def whole(opset: int) -> ir.Model:
    text = TEXT.replace("OPSET", str(opset))
    if opset < 15:
        text = text.replace("Shape<start=1>(ids)", "Slice(s, one, two, axis)")
    proto = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    weights = {
        "table": random.random((9, 4), np.float32),
        "w": random.random((4, 4), np.float32),
        "less": np.array([-1]),
        "four": np.array([4]),
        "one": np.array([1]),
    }
    for name, values in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    model = ir.serde.deserialize_model(proto)
    clean_up(model)
    return model


def run(model: ir.Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(ir.serde.serialize_model(model).SerializeToString())
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


@pytest.mark.parametrize(("opset", "takes"), [(18, ["e"]), (14, ["ids", "e"])])
def test_sizes_come_from_what_the_host_gives(opset: int, takes: list[str]) -> None:
    cut = find_cut(whole(opset))
    assert cut is not None
    assert (cut.values, cut.lookups) == (("e",), 1)
    host, core = whole(opset), whole(opset)
    host_side(host, cut)
    core_side(core, cut, {"e": ("batch", "tokens", 4)})
    assert [value.name for value in core.graph.inputs] == takes
    onnx.checker.check_model(ir.serde.serialize_model(core), full_check=True)
    for shape in ((1, 3), (2, 5)):
        ids = np.random.default_rng(1).integers(0, 9, shape)
        known = {"ids": ids, **run(host, {"ids": ids})}
        found = run(core, {name: known[name] for name in takes})
        for name, expected in run(whole(opset), {"ids": ids}).items():
            np.testing.assert_array_equal(found[name], expected)
