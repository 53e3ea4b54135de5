"""What the ONNX source changes in a model where it has to: operator sets, sparse constants, versions."""

import gc
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper, parser

from edgepack.exporters.sources import SourceRequest
from edgepack.exporters.sources.onnx_file import OnnxSource
from edgepack.toolchain.errors import SourceError


def program(model, folder, **request):
    path = folder / "model.onnx"
    onnx.save(model, path)
    return OnnxSource(SourceRequest(str(path), **request)).program()


def outputs(path, inputs):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


def version(part):
    return onnx.load(part.path, load_external_data=False).opset_import[0].version


def softmax(opset):
    # Before 13 Softmax flattens to a matrix: another operator by the same name.
    return parser.parse_model(
        f'<ir_version: 4, opset_import: ["": {opset}]> '
        "g (float[N, 3, 4] x) => (float[N, 3, 4] y) { y = Softmax<axis = 1>(x) }"
    )


def test_an_old_operator_set_is_converted_and_computes_the_same(tmp_path):
    made = program(softmax(9), tmp_path)
    part = made.parts["main"]
    assert "operator set 9 converted to 18" in made.notes
    assert version(part) == 18
    for case in part.cases:
        got = outputs(part.path, case.inputs)["y"]
        np.testing.assert_allclose(got, case.outputs["y"], rtol=1e-5)
        # Along both axes together, as set 9 says.
        np.testing.assert_allclose(got.sum(axis=(1, 2)), 1, rtol=1e-5)


def test_the_signature_of_a_converted_model_is_the_authors(tmp_path):
    signature = program(softmax(9), tmp_path).parts["main"].signature
    assert [str(spec) for spec in (*signature.inputs, *signature.outputs)] == [
        "x:float32[N,3,4]",
        "y:float32[N,3,4]",
    ]


def test_a_converted_file_goes_with_its_part(tmp_path):
    part = program(softmax(9), tmp_path).parts["main"]
    folder = part.path.parent
    assert folder != tmp_path
    assert folder.is_dir()
    del part
    gc.collect()
    assert not folder.exists()


def test_a_converted_file_is_written_where_it_was_asked_for(tmp_path):
    onnx.save(softmax(9), tmp_path / "model.onnx")
    out = tmp_path / "out"
    part = OnnxSource(SourceRequest(str(tmp_path / "model.onnx"))).program(out).parts["main"]
    assert part.path == out / "source.onnx"


def test_a_conversion_that_computes_something_else_is_not_taken(tmp_path, monkeypatch):
    # A converter that is wrong: it only writes another number over the version.
    def wrong(model, target):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.opset_import[0].version = target
        return copy

    monkeypatch.setattr(onnx.version_converter, "convert_version", wrong)
    onnx.save(softmax(9), tmp_path / "model.onnx")
    out = tmp_path / "out"
    made = OnnxSource(SourceRequest(str(tmp_path / "model.onnx"))).program(out)
    assert "operator set 9 kept: converted it computes something else" in made.notes
    assert version(made.parts["main"]) == 9
    assert list(out.iterdir()) == []


def test_weights_are_not_given_to_the_converter(tmp_path, monkeypatch):
    seen = []
    convert = onnx.version_converter.convert_version

    def weighed(model, target):
        seen.append(model.ByteSize())
        return convert(model, target)

    monkeypatch.setattr(onnx.version_converter, "convert_version", weighed)
    model = parser.parse_model(
        '<ir_version: 4, opset_import: ["": 11]> g (float[N, 512] x) => (float[N, 512] y) { y = MatMul(x, w) }'
    )
    weight = np.random.default_rng(0).standard_normal((512, 512), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    made = program(model, tmp_path)
    part = made.parts["main"]
    assert "operator set 11 converted to 18" in made.notes
    assert max(seen) < 10_000
    case = part.cases[0]
    np.testing.assert_allclose(
        outputs(part.path, case.inputs)["y"], case.inputs["x"] @ weight, rtol=1e-3, atol=1e-3
    )


def test_a_set_that_the_runtime_runs_no_more_is_converted_and_said_to_be_unverified(tmp_path):
    model = parser.parse_model(
        '<ir_version: 3, opset_import: ["": 6]> g (float[2, 3, 4] x, float[4] b) => (float[2, 3, 4] y) '
        "{ y = Add<broadcast = 1>(x, b) }"
    )
    made = program(model, tmp_path)
    assert any("operator set 6 converted to 18, unverified" in note for note in made.notes)
    case = made.parts["main"].cases[0]
    np.testing.assert_allclose(case.outputs["y"], case.inputs["x"] + case.inputs["b"], rtol=1e-6)


def test_an_old_set_that_cannot_be_converted_names_the_operator(tmp_path):
    model = parser.parse_model(
        '<ir_version: 3, opset_import: ["": 6]> g (float[2, 3, 4] x, float[3] b) => (float[2, 3, 4] y) '
        "{ y = Add<broadcast = 1, axis = 1>(x, b) }"
    )
    with pytest.raises(SourceError, match="The operator Add cannot be converted from operator set 6 to 18"):
        program(model, tmp_path)


def test_a_newer_set_is_read_as_the_newest_known_one_if_that_is_the_same(tmp_path):
    newest = onnx.defs.onnx_opset_version()
    model = parser.parse_model(
        f'<ir_version: 10, opset_import: ["": {newest}]> g (float[N] x) => (float[N] y) {{ y = Relu(x) }}'
    )
    made = program(model, tmp_path)
    part = made.parts["main"]
    assert outputs(part.path, part.cases[0].inputs)["y"].shape == (2,)
    if version(part) != newest:
        assert any(f"operator set {newest} of ai.onnx read as" in note for note in made.notes)


def test_a_set_that_nobody_knows_is_refused_with_its_operators(tmp_path):
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 99]> g (float[N] x) => (float[N] y) { y = Relu(x) }'
    )
    with pytest.raises(SourceError, match=r"operator set 99.*Relu"):
        program(model, tmp_path)


def test_an_ir_version_of_the_future_is_read_as_the_known_one(tmp_path):
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (float[N] x) => (float[N] y) { y = Relu(x) }'
    )
    model.ir_version = 99
    made = program(model, tmp_path)
    assert any("IR version 99 read as" in note for note in made.notes)


def sparse(values, indices, dims, name="w"):
    tensor = onnx.SparseTensorProto()
    tensor.values.CopyFrom(numpy_helper.from_array(np.array(values, np.float32), name))
    tensor.indices.CopyFrom(numpy_helper.from_array(np.array(indices, np.int64), f"{name}_places"))
    tensor.dims.extend(dims)
    return tensor


def sparse_model(tensor):
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (float[N, 2] x) => (float[N, 3] y) { y = MatMul(x, w) }'
    )
    model.graph.sparse_initializer.append(tensor)
    return model


DENSE = np.array([[0, 5, 0], [0, 0, 7]], np.float32)


@pytest.mark.parametrize("indices", [[1, 5], [[0, 1], [1, 2]]], ids=["positions", "coordinates"])
def test_sparse_weights_become_dense(tmp_path, indices):
    made = program(sparse_model(sparse([5, 7], indices, [2, 3])), tmp_path)
    part = made.parts["main"]
    assert "1 sparse constant made dense" in made.notes
    saved = onnx.load(part.path)
    assert not saved.graph.sparse_initializer
    np.testing.assert_array_equal(numpy_helper.to_array(saved.graph.initializer[0]), DENSE)
    for case in part.cases:
        np.testing.assert_allclose(case.outputs["y"], case.inputs["x"] @ DENSE, rtol=1e-6)


def test_a_sparse_constant_node_becomes_dense(tmp_path):
    node = helper.make_node("Constant", [], ["w"], sparse_value=sparse([5, 7], [1, 5], [2, 3]))
    model = sparse_model(sparse([1], [0], [1], "unused"))
    del model.graph.sparse_initializer[:]
    model.graph.node.insert(0, node)
    made = program(model, tmp_path)
    case = made.parts["main"].cases[0]
    np.testing.assert_allclose(outputs(made.parts["main"].path, case.inputs)["y"], case.inputs["x"] @ DENSE)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (sparse([5, 7], [1, 6], [2, 3]), "places outside"),
        (sparse([5, 7], [-1, 5], [2, 3]), "places outside"),
        (sparse([5, 7], [[0, 1], [1, 3]], [2, 3]), "places outside"),
        (sparse([5], [1], [1 << 20, 1 << 20]), "cannot be made dense"),
        (sparse([5], [1], [-2, 3]), "cannot be made dense"),
    ],
)
def test_hostile_sparse_weights(tmp_path, tensor, words):
    path = tmp_path / "model.onnx"
    onnx.save(sparse_model(tensor), path)
    with pytest.raises(SourceError, match=words):
        OnnxSource(SourceRequest(str(path))).check()


def test_a_mask_of_infinity_is_no_broken_weight(tmp_path):
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (float[N, 3] x) => (float[N, 3] y) '
        "{ m = Add(x, w) y = Softmax(m) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, -np.inf, 0], np.float32), "w"))
    assert program(model, tmp_path).parts["main"].cases
    broken = numpy_helper.from_array(np.array([1, -np.inf, 0], np.float32), "w")
    model.graph.initializer[0].CopyFrom(broken)
    with pytest.raises(SourceError, match="NaN or infinity: w"):
        program(model, tmp_path)


def test_nothing_is_written_for_a_model_that_is_fine(tmp_path):
    made = program(softmax(18), tmp_path)
    assert made.parts["main"].path == Path(tmp_path / "model.onnx")
    assert made.notes == []
