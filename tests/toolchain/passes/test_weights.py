from __future__ import annotations

import hashlib

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.passes.weights import array, nan_or_inf, raw_chunks


def external(path, values, *, offset=0, base=None, name="w") -> ir.ExternalTensor:
    path.write_bytes(b"\0" * offset + values.tobytes())
    return ir.ExternalTensor(
        path.name, offset, values.nbytes, ir.DataType.from_numpy(values.dtype), shape=ir.Shape(values.shape),
        name=name, base_dir=base or path.parent,
    )  # fmt: skip


@pytest.fixture
def with_weight(graph):
    def build(tensor):
        model = graph(
            "g (float[n,300] x) => (float[n,500] y) { y = MatMul(x, w) }", w=np.ones((300, 500), np.float32)
        )
        model.graph.initializers["w"].const_value = tensor
        return model

    return build


def test_chunks_and_array_are_the_bytes_of_the_file(tmp_path, rng):
    values = rng.standard_normal((300, 500)).astype(np.float32)
    tensor = external(tmp_path / "w.bin", values, offset=24)
    digest = hashlib.sha256()
    for chunk in raw_chunks(tensor, chunk_bytes=1000):
        assert len(chunk) <= 1000
        digest.update(chunk)
    assert digest.digest() == hashlib.sha256(values.tobytes()).digest()
    np.testing.assert_array_equal(array(tensor), values)
    assert b"".join(bytes(chunk) for chunk in raw_chunks(ir.tensor(values), 1000)) == values.tobytes()


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("outside", [True, False])
def test_nan_and_infinity_anywhere_are_found(with_weight, tmp_path, dtype, value, outside):
    values = np.ones((300, 500), dtype)
    model = with_weight(external(tmp_path / "w.bin", values) if outside else ir.tensor(values))
    assert nan_or_inf(model) == []
    values[299, 498] = value
    model = with_weight(external(tmp_path / "w.bin", values) if outside else ir.tensor(values))
    assert nan_or_inf(model) == ["w"]


def test_large_finite_values_are_not_infinite(with_weight):
    assert nan_or_inf(with_weight(ir.tensor(np.full((300, 500), np.finfo(np.float32).max)))) == []


def test_masks_of_infinity_and_zero_are_sound(with_weight):
    mask = np.triu(np.full((600, 500), -np.inf, np.float32), 1)
    assert nan_or_inf(with_weight(ir.tensor(mask))) == []
    # One number among them, in the last chunk, and it is a weight that overflowed.
    mask[-1, 0] = 1
    assert nan_or_inf(with_weight(ir.tensor(mask))) == ["w"]
    mask[-1, 0] = np.nan
    assert nan_or_inf(with_weight(ir.tensor(mask))) == ["w"]


def test_integers_and_packed_types_have_no_nan(with_weight):
    assert nan_or_inf(with_weight(ir.tensor(np.full((300, 500), -1, np.int8)))) == []
    assert nan_or_inf(with_weight(ir.tensor(np.full((300, 500), 7, ml_dtypes.int4)))) == []


def test_data_outside_the_folder_missing_or_short(with_weight, tmp_path, rng):
    values = rng.standard_normal((300, 500)).astype(np.float32)
    (tmp_path / "model").mkdir()
    tensor = external(tmp_path / "secret.bin", values)
    outside = ir.ExternalTensor(
        "../secret.bin", 0, values.nbytes, ir.DataType.FLOAT, shape=ir.Shape(values.shape), name="w",
        base_dir=tmp_path / "model",
    )  # fmt: skip
    with pytest.raises(SourceError, match=r"points outside the model's folder \(weight 'w'\)"):
        nan_or_inf(with_weight(outside))
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "secret.bin")
    linked = ir.ExternalTensor(
        "link.bin", 0, values.nbytes, ir.DataType.FLOAT, shape=ir.Shape(values.shape), name="w",
        base_dir=tmp_path / "model",
    )  # fmt: skip
    with pytest.raises(SourceError, match="points outside"):
        nan_or_inf(with_weight(linked))
    (tmp_path / "secret.bin").write_bytes(values.tobytes()[:-1])
    with pytest.raises(SourceError, match="has 599999 bytes and the weight ends at byte 600000"):
        nan_or_inf(with_weight(tensor))
    (tmp_path / "secret.bin").unlink()
    with pytest.raises(SourceError, match=r"'secret\.bin' cannot be read: No such file"):
        nan_or_inf(with_weight(tensor))


def test_clean_up_leaves_weights_where_they_are(tmp_path, graph, rng):
    weight, bias = rng.standard_normal((300, 500)).astype(np.float32), np.ones(500, np.float32)
    model = graph(
        "g (float[n,300] x) => (float[n,500] y) { a = MatMul(x, w) b = Add(a, v) y = Add(b, u) }",
        w=weight, v=bias, u=bias,
    )  # fmt: skip
    proto = ir.serde.serialize_model(model)
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    model = ir.load(tmp_path / "m.onnx")
    counts = clean_up(model)
    assert counts["duplicate-initializers"] == 1
    for value in model.graph.initializers.values():
        tensor = value.const_value
        assert isinstance(tensor, ir.ExternalTensor)
        assert tensor.raw is None, "the weight was mapped and read"
