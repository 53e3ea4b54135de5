"""Example inputs beside a model: `test_data_set_0/input_0.pb`."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper, parser

from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.toolchain.errors import SourceError

# Identifiers above 4 are outside the table: random ones below 2 would pass, and say less.
MODEL = """<ir_version: 10, opset_import: ["": 18]>
g (int64[batch, n] ids, float[batch, n] scale) => (float[batch, n] y) <float[5] table = {0, 1, 4, 9, 16}>
{ rows = Gather(table, ids) y = Mul(rows, scale) }"""


@pytest.fixture
def folder(tmp_path):
    onnx.save(parser.parse_model(MODEL), tmp_path / "model.onnx")
    put(tmp_path, "input_0", np.array([[3, 4, 4]], np.int64))
    put(tmp_path, "input_1", np.array([[1, 2, 0.5]], np.float32))
    return tmp_path


def put(folder, name, value, number=0):
    place = folder / f"test_data_set_{number}"
    place.mkdir(exist_ok=True)
    data = value if isinstance(value, bytes) else numpy_helper.from_array(value).SerializeToString()
    (place / f"{name}.pb").write_bytes(data)


def source(folder, *inputs):
    return open_source(SourceRequest(str(folder / "model.onnx"), inputs=inputs))


def test_the_example_is_the_first_case_and_others_are_like_it(folder):
    part = source(folder).program().parts["main"]
    first, *others = part.cases
    np.testing.assert_array_equal(first.inputs["ids"], [[3, 4, 4]])
    np.testing.assert_array_equal(first.outputs["y"], [[9, 32, 8]])
    assert part.example_sizes() == {"batch": 1, "n": 3}
    assert len(others) == 2
    for case in others:
        assert set(case.inputs["ids"].reshape(-1)) <= {3, 4}
        assert case.inputs["ids"].shape == case.inputs["scale"].shape
    assert len({case.inputs["ids"].shape for case in part.cases}) >= 2


def test_several_data_sets_are_several_cases(folder):
    put(folder, "input_0", np.array([[1, 2]], np.int64), 1)
    put(folder, "input_1", np.ones((1, 2), np.float32), 1)
    cases = source(folder).program().parts["main"].cases
    assert [case.inputs["ids"].shape for case in cases[:2]] == [(1, 3), (1, 2)]


def test_outputs_beside_the_model_are_compared(folder):
    put(folder, "output_0", np.array([[9, 32, 8]], np.float32))
    assert source(folder).program().notes == []
    put(folder, "output_0", np.array([[9, 32, 7]], np.float32))
    assert any("differ from those beside the model" in note for note in source(folder).program().notes)


def test_the_fingerprint_covers_the_examples(folder):
    before = source(folder).fingerprint()
    put(folder, "input_1", np.array([[1, 2, 0.25]], np.float32))
    assert source(folder).fingerprint() != before


def test_asking_for_sizes_overrides_the_examples(folder):
    part = source(folder, "ids:int64[batch=2,n=7]").program().parts["main"]
    assert part.cases[0].inputs["ids"].shape == (2, 7)


def huge():
    tensor = TensorProto(data_type=TensorProto.INT64, dims=[1 << 20, 1 << 20], raw_data=b"12345678")
    return tensor.SerializeToString()


def outside():
    tensor = TensorProto(data_type=TensorProto.INT64, dims=[1, 3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor.SerializeToString()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\xff\xff no protobuf", "input_0.pb cannot be used"),
        (huge(), "declares"),
        (outside(), "refers to another file"),
        (np.zeros((1, 3), np.int32), r"int32\[1, 3\]"),
        (np.zeros(3, np.int64), "the input is ids"),
        (np.full((1, 3), 77), "does not run on its example"),
    ],
)
def test_examples_that_cannot_be_used(folder, value, words):
    put(folder, "input_0", value)
    with pytest.raises(SourceError, match=words):
        source(folder).program()


def test_one_name_of_two_sizes(folder):
    put(folder, "input_1", np.ones((1, 1), np.float32))
    with pytest.raises(SourceError, match="'n' has the two sizes"):
        source(folder).program()


def test_an_input_without_a_file(folder):
    (folder / "test_data_set_0/input_1.pb").unlink()
    with pytest.raises(SourceError, match="no file for the input 'scale'"):
        source(folder).program()


def test_a_file_too_many(folder):
    put(folder, "input_2", np.zeros(1, np.float32))
    with pytest.raises(SourceError, match="only 2 inputs"):
        source(folder).program()


def test_an_example_behind_a_link_that_leads_out(folder, tmp_path_factory):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.pb"
    file = folder / "test_data_set_0/input_0.pb"
    file.rename(secret)
    file.symlink_to(secret)
    with pytest.raises(SourceError, match="no file of the model's folder"):
        source(folder).check()
