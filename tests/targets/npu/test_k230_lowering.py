"""Forms that nncase loads: they compute what the model's own did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgepack.targets.npu._k230_lowering import LACKS, loadable, one_file, refuse_unknown
from edgepack.toolchain.errors import TargetError

X = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)
SCALE, SHIFT = np.linspace(0.5, 2, 8, dtype=np.float32), np.linspace(-1, 1, 8, dtype=np.float32)


def model(body: str, shape: str = "2,3,8", opset: int = 20) -> onnx.ModelProto:
    proto: onnx.ModelProto = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": {opset}]> g (float[2,3,8] x) => (float[{shape}] y) {{ {body} }}'
    )
    for name, array in (("scale", SCALE), ("shift", SHIFT)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return proto


def run(proto: onnx.ModelProto) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    found: np.ndarray = session.run(None, {"x": X})[0]
    return found


@pytest.mark.parametrize(
    ("body", "shape", "opset", "made"),
    [
        ("y = LayerNormalization <axis = -1> (x, scale, shift)", "2,3,8", 17, {"Pow", "ReduceMean"}),
        ("y = LayerNormalization <epsilon = 0.1> (x, scale)", "2,3,8", 18, {"Pow", "ReduceMean"}),
        ("y = RMSNormalization (x, scale)", "2,3,8", 23, {"Pow"}),
        ("y = Gelu (x)", "2,3,8", 20, {"Erf", "Div"}),
        ('y = Gelu <approximate = "tanh"> (x)', "2,3,8", 20, {"Sigmoid"}),
        ("y = Tanh (x)", "2,3,8", 20, {"Sigmoid", "Sub"}),
        ("y = Mish (x)", "2,3,8", 18, {"Softplus"}),
        ("y = Flatten <axis = -1> (x)", "6,8", 20, {"Reshape"}),
        ("y = Flatten (x)", "2,24", 20, {"Reshape"}),
        ("y = Max (x, scale, shift)", "2,3,8", 20, {"Max"}),
        ("y = Min (x)", "2,3,8", 20, set()),
        ("s = Constant <value_ints = [1, 1, 3]> () y = Tile (x, s)", "2,3,24", 20, {"Concat"}),
        ("s = Constant <value_ints = [2, 1, 2]> () y = Tile (x, s)", "4,3,16", 20, {"Concat"}),
        ("s = Constant <value_ints = [1, 1, 1]> () n = Tile (x, s) y = Abs (n)", "2,3,8", 20, {"Abs"}),
        ("a = Abs (x) s = Sub (x, a) t = Add (s, shift) y = Relu (t)", "2,3,8", 20, {"Max"}),
        ("t = Add (x, shift) y = Relu (t)", "2,3,8", 20, {"Relu"}),
        ("n = Abs (x) y = Reciprocal (n)", "2,3,8", 20, {"Div"}),
        ("s = Constant <value_ints = [6, 8]> () y = Reshape <allowzero = 1> (x, s)", "6,8", 20, {"Reshape"}),
    ],
)
def test_what_is_made_computes_the_same(body: str, shape: str, opset: int, made: set[str]) -> None:
    proto = model(body, shape, opset)
    found = ir.serde.serialize_model(loadable(ir.serde.deserialize_model(proto), "main"))
    assert np.abs(run(found) - run(proto)).max() < 1e-5
    names = {node.op_type for node in found.graph.node}
    assert made <= names
    assert not names & {*LACKS, "LayerNormalization", "RMSNormalization", "Gelu", "Flatten"}
    assert found.opset_import[0].version <= 19
    assert all(len(node.input) == 2 for node in found.graph.node if node.op_type in {"Max", "Min"})
    assert not any(attribute.name == "allowzero" for node in found.graph.node for attribute in node.attribute)


@pytest.mark.parametrize(
    ("body", "opset", "pooled"),
    [
        ("y = ReduceMean <axes = [-1, 2]> (r)", 17, True),
        ("a = Constant <value_ints = [2, 3]> () y = ReduceMean (r, a)", 18, True),
        ("a = Constant <value_ints = [2, 3]> () y = ReduceMean <keepdims = 0> (r, a)", 18, True),
        ("a = Constant <value_ints = [1, 3]> () y = ReduceMean (r, a)", 18, False),
        ("y = ReduceMean (r)", 18, False),
    ],
)
def test_means_of_images_are_poolings(body: str, opset: int, pooled: bool) -> None:
    shape = {"y = ReduceMean (r)": "1,1,1,1", "[1, 3]": "2,1,2,1", "keepdims = 0": "2,3"}
    made = next((value for key, value in shape.items() if key in body), "2,3,1,1")
    proto = model(f"s = Constant <value_ints = [2, 3, 2, 4]> () r = Reshape (x, s) {body}", made, opset)
    found = ir.serde.serialize_model(loadable(ir.serde.deserialize_model(proto), "main"))
    assert ("GlobalAveragePool" in {node.op_type for node in found.graph.node}) == pooled
    assert np.abs(run(found) - run(proto)).max() < 1e-6


@pytest.mark.parametrize(
    ("given", "left", "shape"),
    [
        ("[0], [-1], [2]", [[0], [7], [2]], "2,3,7"),
        ("[-2, 0], [9, 99], [1, 2]", [[1, 0], [3, 8], [1, 2]], "2,2,8"),
        ("[-9], [1], [-1]", [[0], [1], [-1]], "2,3,1"),
        ("[0], [9223372036854775807], [1]", None, "2,3,8"),
        ("[7], [-9], [2], [-1]", [[7], [-9], [2], [-1]], "2,3,8"),
    ],
)
def test_slices_count_from_the_front(given: str, left: list[list[int]] | None, shape: str) -> None:
    lists = [f"[{part.strip('[] ')}]" for part in given.split("],")]
    names = [f"c{index}" for index in range(len(lists))]
    constants = " ".join(
        f"{name} = Constant <value_ints = {value}> ()" for name, value in zip(names, lists, strict=True)
    )
    proto = model(f"a = Abs (x) {constants} y = Slice (a, {', '.join(names)})", shape)
    found = ir.serde.serialize_model(loadable(ir.serde.deserialize_model(proto), "main"))
    kept = {one.name: onnx.numpy_helper.to_array(one).tolist() for one in found.graph.initializer}
    slices = [node for node in found.graph.node if node.op_type == "Slice"]
    assert [[kept[name] for name in node.input[1:]] for node in slices] == ([] if left is None else [left])
    assert np.array_equal(run(found), run(proto))


def test_a_dimension_of_zero_is_refused() -> None:
    proto = model("s = Constant <value_ints = [0, 8]> () y = Reshape <allowzero = 1> (x, s)", "0,8")
    with pytest.raises(TargetError, match="no Reshape to a dimension of size zero"):
        loadable(ir.serde.deserialize_model(proto), "main")


def test_operators_that_it_does_not_know_are_named() -> None:
    proto = model("n = IsNaN (x) y = Where (n, x, x)")
    with pytest.raises(TargetError, match="nncase has no IsNaN"):
        refuse_unknown(ir.serde.deserialize_model(proto), "main")


def test_one_file_with_plain_names(tmp_path: Path) -> None:
    proto = model("y = Add(x, scale)")
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "a name/with: anything"
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="m.data")
    one_file(tmp_path / "m.onnx", tmp_path / "one.onnx")
    found = onnx.load(tmp_path / "one.onnx", load_external_data=False)
    assert [value.name for value in (*found.graph.input, *found.graph.output)] == ["input_0", "output_0"]
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in found.graph.initializer)
