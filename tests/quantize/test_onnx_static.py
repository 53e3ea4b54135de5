"""Static int8: ranges, bias correction, the float stem, and what ONNX Runtime makes of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.quantize._onnx_bias import correct_biases, mean_shift
from edgepack.quantize._onnx_ranges import ranges
from edgepack.quantize._onnx_stem import stem
from edgepack.quantize.base import CalibrationData, Feeds
from edgepack.quantize.onnx_static import OnnxStatic, activation_type
from edgepack.toolchain.errors import TargetError, UnknownNameError, UsageError
from edgepack.toolchain.program import Lowered, Signature
from edgepack.toolchain.results import Calibration


def cnn(folder: Path, opset: int = 20) -> Lowered:
    """Stem, depthwise, pointwise, another pointwise with a skip connection, pooling, classifier; any picture size."""
    rng = np.random.default_rng(0)
    shapes = {
        "w0": (16, 3, 3, 3),
        "w1": (16, 1, 3, 3),
        "w2": (32, 16, 1, 1),
        "w3": (32, 32, 1, 1),
        "w4": (10, 32),
    }
    weights = {
        k: (rng.normal(size=s) / np.sqrt(np.prod(s[1:]))).astype(np.float32) for k, s in shapes.items()
    }
    weights |= {f"b{k[1]}": rng.normal(size=s[0]).astype(np.float32) for k, s in shapes.items()}
    weights |= {"lo": np.float32(0), "hi": np.float32(6), "axes": np.array([2, 3])}
    nodes = [
        helper.make_node("Conv", ["image", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Clip", ["c0", "lo", "hi"], ["a0"]),
        helper.make_node("Conv", ["a0", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], group=16),
        helper.make_node("Clip", ["c1", "lo", "hi"], ["a1"]),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["c2"]),
        helper.make_node("Conv", ["c2", "w3", "b3"], ["c3"]),
        helper.make_node("Add", ["c2", "c3"], ["s"]),
        helper.make_node("ReduceMean", ["s", "axes"], ["p"], keepdims=0),
        helper.make_node("Gemm", ["p", "w4", "b4"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    folder.mkdir(exist_ok=True)
    onnx.save(
        model, folder / "main.onnx", save_as_external_data=True, location="main.onnx.data", size_threshold=64
    )
    return Lowered("main", "onnx", folder / "main.onnx", Signature((), ()))


def pictures(photos: list[np.ndarray], count: int, start: int = 0) -> list[Feeds]:
    """Crops of photographs, of different sizes."""
    found: list[Feeds] = []
    for index in range(start, start + count):
        photo = photos[index % len(photos)]
        side = 32 + 8 * (index % 4)
        top, left = (index * 37) % (photo.shape[0] - side), (index * 53) % (photo.shape[1] - side)
        crop = photo[top : top + side, left : left + side].astype(np.float32) / 127.5 - 1
        found.append({"image": np.ascontiguousarray(crop.transpose(2, 0, 1)[None])})
    return found


@pytest.fixture
def data(photos):
    samples = pictures(photos, 24)
    return CalibrationData(
        Calibration(kind="user", description="photos", samples=24, held_out=0), samples, [], ""
    )


def run(path: Path, feeds: Feeds) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(path).run(None, dict(feeds))[0])


def test_outputs_stay_close_on_pictures_of_other_sizes(tmp_path, data, photos):
    base = cnn(tmp_path / "float")
    made = OnnxStatic().quantize(base, "int8-static", data, tmp_path / "int8")
    counts = Counter(node.op_type for node in onnx.load(made.path, load_external_data=False).graph.node)
    assert counts["DequantizeLinear"] > counts["QuantizeLinear"] > 3
    assert made.changed_nodes
    assert any("4 nodes left float" in note for note in made.notes)
    for feeds in pictures(photos, 8, start=100):
        reference, got = run(base.path, feeds).ravel(), run(made.path, feeds).ravel()
        assert reference @ got / np.linalg.norm(reference) / np.linalg.norm(got) > 0.999
    onnx.checker.check_model(str(made.path))


@pytest.mark.parametrize(("activations", "dtype"), [("uint8", TensorProto.UINT8), ("int8", TensorProto.INT8)])
def test_types_of_activations_and_weights(tmp_path, data, activations, dtype):
    made = OnnxStatic().quantize(
        cnn(tmp_path / "float"), "int8-static", data, tmp_path / "int8", activations=activations
    )
    model = onnx.load(made.path)
    constants = {i.name: i for i in model.graph.initializer}
    zeros = {constants[n.input[2]].data_type for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert zeros == {dtype}
    matrices = [
        constants[n.input[0]]
        for n in model.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0] in constants
    ]
    weights = [w for w in matrices if len(w.dims) > 1]
    assert {w.data_type for w in weights} == {TensorProto.INT8}
    scales = [
        constants[n.input[1]].dims
        for n in model.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0] in {w.name for w in weights}
    ]
    assert all(len(dims) == 1 and dims[0] > 1 for dims in scales)  # per channel


def test_ranges_of_the_three_merges(tmp_path):
    base = cnn(tmp_path / "float")
    samples = [{"image": np.full((1, 3, 8, 8), value, np.float32)} for value in (1.0, 2.0, 9.0)]
    for merge, expected in (("min-max", [1, 9]), ("mean", [4, 4]), ("middle", [2.5, 6.5])):
        assert list(map(float, ranges(base.path, ["image"], samples, merge)["image"])) == expected


def test_samples_are_taken_one_at_a_time(tmp_path):
    base = cnn(tmp_path / "float")
    alive: list[int] = []

    class Sample(dict[str, np.ndarray]):
        def __init__(self) -> None:
            super().__init__(image=np.ones((1, 3, 16, 16), np.float32))
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    most = 0

    def stream():
        nonlocal most
        for _ in range(6):
            yield Sample()
            most = max(most, len(alive))

    ranges(base.path, ["image"], stream())
    assert 0 < most <= 2


def test_tensors_that_are_not_finite_are_named(tmp_path):
    base = cnn(tmp_path / "float")
    with pytest.raises(TargetError, match="'image' is not finite"):
        ranges(base.path, ["image"], [{"image": np.full((1, 3, 8, 8), np.inf, np.float32)}])
    with pytest.raises(UsageError, match="no sample"):
        ranges(base.path, ["image"], [])


def test_bias_correction_takes_the_mean_error_out(tmp_path, data):
    base = cnn(tmp_path / "float")
    model = onnx.load(base.path)
    before = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    assert correct_biases(model, base.path, data, exclude=()) == 5
    after = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    for name, value in before.items():
        assert np.array_equal(value, after[name]) == (not name.startswith("b"))


def test_a_model_without_biases_has_nothing_to_correct(tmp_path, data):
    base = cnn(tmp_path / "float")
    model = onnx.load(base.path)
    for node in model.graph.node:
        if node.op_type in {"Conv", "Gemm"}:
            del node.input[2:]
    assert correct_biases(model, base.path, data) == 0


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_mean_shift_is_what_rounded_weights_change_on_average(groups):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(16, 8 // groups, 3, 3)).astype(np.float32)
    mean = rng.normal(size=8)
    scales = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    difference = np.rint(weight / scales) * scales - weight
    expected = [
        sum(
            difference[o, i].sum() * mean[(o // (16 // groups)) * (8 // groups) + i]
            for i in range(8 // groups)
        )
        for o in range(16)
    ]
    np.testing.assert_allclose(mean_shift(weight, mean, groups), expected, atol=1e-6)


def test_the_stem_is_what_sees_the_picture(tmp_path):
    model = onnx.load(cnn(tmp_path / "float").path)
    for index, node in enumerate(model.graph.node):
        node.name = f"n{index}"
    assert stem(model) == ["n0", "n1", "n2", "n3"]
    del model.graph.node[:5]  # a first convolution of many channels is no stem
    model.graph.input[0].name = "c2"
    assert stem(model) == []


def test_bad_requests(tmp_path, data):
    base = cnn(tmp_path / "float")
    quantize = OnnxStatic().quantize
    with pytest.raises(UsageError, match="needs calibration data"):
        quantize(base, "int8-static", None, tmp_path / "int8")
    with pytest.raises(UnknownNameError, match="min-max"):
        quantize(base, "int8-static", data, tmp_path / "int8", ranges="minmax")
    with pytest.raises(UnknownNameError, match="uint8"):
        quantize(base, "int8-static", data, tmp_path / "int8", activations="uint4")
    with pytest.raises(TargetError, match="operator set 13"):
        quantize(cnn(tmp_path / "old", opset=12), "int8-static", data, tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


def test_activations_by_machine():
    assert [activation_type(m) for m in ("x86_64", "AMD64", "aarch64", "arm64", "armv7l")] == [
        "uint8",
        "uint8",
        "int8",
        "int8",
        "int8",
    ]


def test_a_node_that_gives_the_output_counts_as_changed(tmp_path):
    weight = numpy_helper.from_array(
        np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32), "w"
    )
    shapes = {"x": [1, 3, 16, 16], "y": [1, 8, 14, 14]}
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])], "g", info[:1], info[1:], [weight]
    )
    path = tmp_path / "main.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    feeds = [{"x": np.random.default_rng(i).normal(size=shapes["x"]).astype(np.float32)} for i in range(4)]
    facts = Calibration(kind="user", description="", samples=4, held_out=0)
    samples = CalibrationData(facts, feeds, [], "four")
    lowered = Lowered("main", "onnx", path, Signature((), ()))
    made = OnnxStatic().quantize(lowered, "int8-static", samples, tmp_path / "out", stem=False)
    assert made.changed_nodes == 1
