"""The file: constants streamed, aligned and shared, inside the flatbuffer or outside of it."""

import tracemalloc

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.targets.mobile._tflite import writer
from edgepack.targets.mobile._tflite.graph import Graph, Values, held
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import SourceError
from tests.targets.mobile.tflite import harness


def sums(constants):
    """x + c0 + c1 + ..."""
    graph = Graph()
    x = graph.inputs["x"] = graph.tensor("x", "float32", constants[0].shape)
    for index, values in enumerate(constants):
        made = graph.tensor("y", "float32", values.shape)
        graph.add("ADD", [x, graph.constant(values, f"c{index}")], [made])
        x = made
    graph.outputs["y"] = x
    return graph


@pytest.mark.parametrize("limit", [writer.INLINE_LIMIT, 0], ids=["inside", "outside"])
def test_constants_lie_aligned_where_the_file_says(limit, tmp_path):
    arrays = [np.random.default_rng(seed).standard_normal((3, 5)).astype(np.float32) for seed in range(3)]
    path = tmp_path / "model.tflite"
    writer.write(sums([held(array) for array in arrays]), path, inline_limit=limit)
    raw = path.read_bytes()
    for array in arrays:
        start = raw.index(array.tobytes())
        assert start % 16 == 0
    (got,) = harness.run(path, {"x": np.ones((3, 5), np.float32)}, ["y"])
    np.testing.assert_allclose(got, 1 + sum(arrays), rtol=1e-6)
    assert tflite.read_note(path) == {tflite.CHANNELS_LAST: []}
    # The reader that quantizers use sees the same, wherever the constants are.
    data = [b.data for b in tflite.read(path).buffers if b.data is not None and len(b.data) == 60]
    assert [bytes(d) for d in data] == [array.tobytes() for array in arrays]
    assert list(tmp_path.iterdir()) == [path]


def test_equal_constants_are_stored_once(tmp_path):
    array = np.arange(64, dtype=np.float32).reshape(8, 8)
    path = tmp_path / "model.tflite"
    writer.write(sums([held(array), held(array.copy()), held(array + 1)]), path)
    assert path.read_bytes().count(array.tobytes()) == 1


def test_one_constant_is_in_memory_at_a_time(tmp_path):
    size, shape = 4 << 20, (1 << 20,)

    def big(seed):
        return Values(shape, "float32", lambda: np.full(shape, seed, np.float32), key=("big", seed))

    graph = sums([big(seed) for seed in range(6)])
    writer.write(sums([held(np.zeros(1, np.float32))]), tmp_path / "first.tflite")  # imports done
    tracemalloc.start()
    try:
        writer.write(graph, tmp_path / "model.tflite")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "model.tflite").stat().st_size > 6 * size
    assert peak < 2 * size


def test_four_bits_are_packed_two_a_byte(tmp_path):
    values = np.array([[-8, 7, 3], [0, -1, 5]], np.int8)
    path = tmp_path / "model.tflite"
    graph = Graph()
    graph.inputs["x"] = x = graph.tensor("x", "float32", (2, 3))
    made = graph.outputs["y"] = graph.tensor("y", "float32", (2, 2))
    weights = graph.constant(Values((2, 3), "int4", lambda: values), "w")
    graph.add("FULLY_CONNECTED", [x, weights, None], [made], {})
    writer.write(graph, path)
    assert bytes([0x78, 0x03, 0x5F]) in path.read_bytes()


def test_a_value_of_another_shape_is_a_fault(tmp_path):
    with pytest.raises(ValueError, match="announced"):
        writer.write(sums([Values((3,), "float32", lambda: np.zeros(4, np.float32))]), tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


def test_the_same_model_gives_the_same_bytes(tmp_path):
    case = next(
        c for c in __import__("tests.targets.mobile.tflite.cases", fromlist=["CASES"]).CASES if c.op == "Conv"
    )
    model, _ = harness.build(case)
    for name in ("a", "b"):
        harness.converted(model, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_missing_weight_file_is_named(tmp_path):
    tensor = numpy_helper.from_array(np.zeros((64, 64), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="gone.bin")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = harness.wrap(nodes, {"x": np.zeros((2, 64), np.float32)}, [tensor], ["y"])
    with pytest.raises(SourceError, match=r"gone\.bin"):
        harness.converted(model, tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []
