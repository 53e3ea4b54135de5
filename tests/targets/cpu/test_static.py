"""Every dimension fixed at its size, on request."""

import numpy as np
import onnx_ir as ir
import pytest

import edgepack
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.passes.pinned import pin_sizes
from edgepack.toolchain.program import Signature
from tests.toolchain.pipeline.test_programs import factory


def graph():
    """x [batch, n] -> reshape to [n, batch] by Shape and Gather -> y [n, batch]."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["batch", "n"]))
    back = ir.Value(name="back", const_value=ir.tensor(np.array([1, 0]), name="back"))
    shape = ir.node("Shape", [x])
    turned = ir.node("Gather", [shape.outputs[0], back])
    out = ir.node("Reshape", [x, turned.outputs[0]])
    y = out.outputs[0]
    y.name, y.shape, y.type = "y", ir.Shape(["n", "batch"]), x.type
    nodes = [shape, turned, out]
    made = ir.Graph([x], [y], nodes=nodes, initializers=[back], opset_imports={"": 20}, name="g")
    return ir.Model(made, ir_version=10)


def test_what_follows_from_the_sizes_is_computed():
    model = graph()
    assert pin_sizes(model, {"batch": 2, "n": 3}) == 2
    assert list(model.graph.inputs[0].shape) == [2, 3]
    assert list(model.graph.outputs[0].shape) == [3, 2]
    assert [node.op_type for node in model.graph] == ["Reshape"]


def test_a_name_without_a_size_stays():
    model = graph()
    pin_sizes(model, {"batch": 2})
    assert [str(dim) for dim in model.graph.inputs[0].shape] == ["2", "n"]


@pytest.mark.slow
@pytest.mark.usefixtures("exports_here")
def test_an_encoder_for_one_length(minilm, tmp_path):
    bundle = edgepack.export(
        minilm, targets="cpu:onnxruntime", precision="fp32", out=tmp_path / "out", static=True,
        sizes={"sequence": 32}, measure=False,
    )  # fmt: skip
    (artifact,) = bundle.artifacts
    signature = Signature.from_json(artifact.run.signature)
    assert {spec.name: spec.shape for spec in signature.inputs}["input_ids"] == (1, 32)
    model = ir.load(bundle.file(artifact.files[0]))
    assert all(isinstance(dim, int) for value in model.graph.inputs for dim in value.shape)
    assert not {"Shape", "Expand"} & {node.op_type for node in model.graph}
    assert edgepack.verify(tmp_path / "out").ok
    assert "--static" in bundle.manifest.command
    feed = {spec.name: np.ones((1, 16), np.int64) for spec in signature.inputs}
    with (
        sessions.get("onnxruntime")(bundle.file(artifact.files[0]), signature) as session,
        pytest.raises(edgepack.EdgepackError),
    ):
        session.run(feed)


@pytest.mark.slow
@pytest.mark.usefixtures("exports_here")
def test_parts_that_grow_are_refused(tmp_path):
    with pytest.raises(edgepack.EdgepackError, match="lengths that grow") as caught:
        edgepack.export(factory("decoder"), targets="cpu:onnxruntime", out=tmp_path / "out", static=True)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()
