from __future__ import annotations

import os

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.passes.storage import data_files, save

TEXT = """g (float[n,64] x) => (float[n,48] y) {
    t = Transpose(a) p = MatMul(x, t) q = Add(p, b) s = Shape(x) r = MatMul(x, c) y = Add(q, r) }"""


@pytest.fixture
def feeds(rng):
    return {"x": rng.standard_normal((2, 64)).astype(np.float32)}


@pytest.fixture
def model(graph, rng):
    return graph(
        TEXT,
        a=rng.standard_normal((48, 64)).astype(np.float32).repeat(4, 0)[:48],
        b=rng.standard_normal(48).astype(np.float32),
        c=rng.standard_normal((64, 48)).astype(np.float32),
    )


def test_large_weights_go_beside_and_small_ones_inside(model, run, feeds, tmp_path):
    expected = run(model, feeds)
    path = save(model, tmp_path / "new", "main")
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["main.onnx", "main.onnx.data"]
    onnx.checker.check_model(path, full_check=True)
    np.testing.assert_array_equal(run(str(path), feeds)[0], expected[0])
    weights = ir.load(path).graph.initializers
    assert isinstance(weights["a"].const_value, ir.ExternalTensor)
    assert not isinstance(weights["b"].const_value, ir.ExternalTensor)
    large = weights["c"].const_value
    assert isinstance(large, ir.ExternalTensor)
    assert large.offset is not None
    assert large.offset % 4096 == 0
    assert isinstance(model.graph.initializers["a"].const_value, ir.TensorProtoTensor), (
        "the model was changed"
    )


def test_weights_in_the_folder_are_not_written_again(model, run, feeds, tmp_path):
    path = save(model, tmp_path, "main")
    before = (tmp_path / "main.onnx.data").stat()
    loaded = ir.load(path)
    clean_up(loaded, ["dead-code"])
    again = save(loaded, tmp_path, "clean")
    after = (tmp_path / "main.onnx.data").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clean.onnx", "main.onnx", "main.onnx.data"]
    np.testing.assert_array_equal(run(str(again), feeds)[0], run(str(path), feeds)[0])


def test_to_another_folder_only_what_is_used_is_copied(model, run, feeds, tmp_path):
    loaded = ir.load(save(model, tmp_path / "a", "main"))
    expected = run(str(tmp_path / "a" / "main.onnx"), feeds)
    loaded.graph.register_initializer(
        ir.Value(name="unused", const_value=ir.tensor(np.ones(5000, np.float32)))
    )
    clean_up(loaded)
    path = save(loaded, tmp_path / "b", "main")
    assert (tmp_path / "b" / "main.onnx.data").stat().st_size < (48 * 64 + 64 * 48) * 4 + 2 * 4096
    (tmp_path / "a" / "main.onnx.data").unlink()
    np.testing.assert_array_equal(run(str(path), feeds)[0], expected[0])


def test_a_file_that_is_still_read_from_is_not_overwritten(model, run, feeds, tmp_path):
    loaded = ir.load(save(model, tmp_path, "main"))
    loaded.graph.initializers["c"].const_value = ir.tensor(np.zeros((64, 48), np.float32))
    path = save(loaded, tmp_path, "main")
    assert {file.name for file in data_files(ir.load(path))} == {"main.onnx.data", "main.onnx.1.data"}
    fresh = save(loaded, tmp_path, "main", reuse=False)
    assert [file.name for file in data_files(ir.load(fresh))] == ["main.onnx.1.data"]
    assert [file.name for file in data_files(loaded)] == ["main.onnx.data"]
    np.testing.assert_array_equal(run(str(fresh), feeds)[0], run(loaded_in_memory(loaded), feeds)[0])


def loaded_in_memory(model: ir.Model) -> ir.Model:
    return ir.external_data.load_to_model(model)


def test_weights_that_are_the_same_bytes_are_written_once(model, tmp_path):
    loaded = ir.load(save(model, tmp_path / "a", "main"))
    loaded.graph.initializers["a"].const_value = loaded.graph.initializers["c"].const_value
    save(loaded, tmp_path / "b", "main")
    assert (tmp_path / "b" / "main.onnx.data").stat().st_size == 64 * 48 * 4


def test_what_is_linked_elsewhere_is_copied(model, run, feeds, tmp_path):
    """onnx refuses data files with more than one link, so that the new graph must not refer to one."""
    path = save(model, tmp_path, "main")
    os.link(tmp_path / "main.onnx.data", tmp_path / "other")
    with pytest.raises(onnx.checker.ValidationError, match="hard links"):
        onnx.load(path)
    again = save(ir.load(path), tmp_path, "again")
    onnx.load(again)
    assert [file.name for file in data_files(ir.load(again))] == ["again.onnx.data"]
    assert run(str(again), feeds)[0].shape == (2, 48)


def test_lazy_packed_string_and_attribute_tensors(graph, run, tmp_path, rng):
    import ml_dtypes

    model = graph(
        """g (float[n,128] x) => (float[n,96] y, int32[64,64] z, string[2] s) {
        t = Transpose(w) y = MatMul(x, t) z = Cast<to=6>(q) s = Identity(names) }""",
        w=rng.standard_normal((96, 128)).astype(np.float32),
        q=rng.integers(-8, 7, (64, 64)).astype(ml_dtypes.int4),
        names=np.array(["a", "b"], object),
    )
    model.opset_imports[""] = 21
    feeds = {"x": np.ones((2, 128), np.float32)}
    expected = run(model, feeds)
    assert clean_up(model)["transposed-weights"] == 1
    path = save(model, tmp_path, "main")
    for before, after in zip(expected, run(str(path), feeds), strict=True):
        np.testing.assert_array_equal(before, after)


def test_constant_node_whose_value_lies_outside(graph, run, tmp_path):
    model = graph(
        """g (float[3] x) => (float[3] y) { c = Constant<value = float[3] {1,2,3}>() y = Add(x, c) }"""
    )
    onnx.save(
        ir.serde.serialize_model(model), tmp_path / "m.onnx", save_as_external_data=True, location="m.data",
        size_threshold=0, convert_attribute=True,
    )  # fmt: skip
    path = save(ir.load(tmp_path / "m.onnx"), tmp_path / "elsewhere", "main")
    np.testing.assert_array_equal(run(str(path), {"x": np.zeros(3, np.float32)})[0], [1, 2, 3])


def test_a_failed_write_leaves_nothing_behind(model, tmp_path, monkeypatch):
    path = save(model, tmp_path / "a", "main")
    loaded = ir.load(path)
    (tmp_path / "a" / "main.onnx.data").write_bytes(b"short")
    with pytest.raises(SourceError, match="has 5 bytes"):
        save(loaded, tmp_path / "b", "main")
    assert list((tmp_path / "b").iterdir()) == []

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgepack.toolchain.passes.storage.raw_chunks", full)
    with pytest.raises(OSError, match="No space left"):
        save(model, tmp_path / "b", "main")
    assert list((tmp_path / "b").iterdir()) == []
