"""Parts in one size: what inputs and graph decide is a number, and what values decide is refused by name."""

import onnx
import onnx.parser
import pytest

from edgepack.targets.fixed import fixed, settled
from edgepack.targets.mobile._litert_lowering import pin
from edgepack.toolchain.errors import TargetError, UsageError
from edgepack.toolchain.program import Part, Signature, TensorSpec

X = TensorSpec("x", "float32", ("batch", 4))


def part(folder, text, *outputs):
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> agraph {text}')
    onnx.save(model, folder / "main.onnx")
    return Part("main", folder / "main.onnx", Signature((X,), outputs))


def test_what_the_graph_decides_has_its_number(tmp_path):
    one = part(
        tmp_path,
        "(float[batch,4] x) => (float[n] y, float[batch,4] z) <int64[1] flat = {-1}> "
        "{ y = Reshape(x, flat) z = Relu(x) }",
        TensorSpec("y", "float32", ("n",)),
        TensorSpec("z", "float32", ("batch", 4)),
    )
    model = one.model()
    assert [spec.shape for spec in fixed(one, model, {"batch": 3}, "npu:one").outputs] == [(12,), (3, 4)]
    assert [value.shape.numpy() for value in model.graph.outputs] == [(12,), (3, 4)]


def test_what_values_decide_is_refused(tmp_path):
    found = TensorSpec("y", "int64", (2, "found"))
    one = part(tmp_path, "(float[batch,4] x) => (int64[2,found] y) { y = NonZero(x) }", found)
    with pytest.raises(TargetError, match=r"npu:one plans .* axis 1 of the output 'y' .* \(part main\)"):
        fixed(one, one.model(), {"batch": 3}, "npu:one")
    pinned = pin(one.signature, {"batch": 3}, "mobile:one")
    with pytest.raises(TargetError, match=r"mobile:one plans .* axis 1 of the output 'y'"):
        settled(pinned, [(2, None)], "mobile:one")
    assert one.signature.pinned({"batch": 3}).outputs == (found,)


def test_what_follows_from_a_size_has_the_number_that_the_compiler_found():
    frames = TensorSpec("x", "float32", ("batch", "frames"))
    half = TensorSpec("y", "float32", ("batch", "y_1", 4))
    pinned = pin(Signature((frames,), (half, frames)), {"batch": 1, "frames": 7}, "mobile:one")
    assert pinned.outputs[0].shape == (1, "y_1", 4)
    found = settled(pinned, [(1, 4, 4), (1, 7)], "mobile:one")
    assert [spec.shape for spec in found.outputs] == [(1, 4, 4), (1, 7)]
    assert found.inputs == pinned.inputs


def test_a_size_that_nobody_gave_is_asked_for():
    with pytest.raises(UsageError, match="--size batch=128"):
        pin(Signature((X,), (X,)), {}, "mobile:one")
    with pytest.raises(KeyError):
        Signature((X,), (X,)).pinned({})
