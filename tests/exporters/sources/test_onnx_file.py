import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.toolchain.errors import SourceError, UsageError


def embedding_model() -> onnx.ModelProto:
    """ids [batch, n] -> table[ids] @ w: [batch, n, 3]."""
    rng = np.random.default_rng(0)
    table = numpy_helper.from_array(rng.standard_normal((11, 8), np.float32), "table")
    weight = numpy_helper.from_array(rng.standard_normal((8, 3), np.float32), "weight")
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weight"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "n", 3])],
        [table, weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "model.onnx"
    onnx.save(embedding_model(), file)
    return file


@pytest.fixture
def external(tmp_path):
    file = tmp_path / "model.onnx"
    onnx.save(embedding_model(), file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return file


def relocate(file, location):
    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    file.write_bytes(model.SerializeToString())


def source(file, *inputs):
    return open_source(SourceRequest(str(file), inputs=inputs))


def test_references_are_recorded_over_sizes_within_the_tables_range(path):
    program = source(path).program()
    part = program.parts["main"]
    assert [spec.name for spec in part.signature.inputs] == ["ids"]
    assert len({case.inputs["ids"].shape for case in part.cases}) == 3
    table, weight = (numpy_helper.to_array(t) for t in embedding_model().graph.initializer)
    for case in part.cases:
        np.testing.assert_allclose(
            case.outputs["y"], table[case.inputs["ids"]] @ weight, rtol=1e-5, atol=1e-6
        )
    # Random ids use the whole table, not only its first rows.
    assert max(int(case.inputs["ids"].max()) for case in part.cases) > 4


def test_external_data_is_read(external):
    source(external).check()
    assert source(external).program().parts["main"].cases


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_truncated_file(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(SourceError, match=r"model\.onnx"):
        source(path).check()


def test_a_file_of_noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(4096))
    with pytest.raises(SourceError, match="not a whole ONNX model"):
        source(path).check()


def test_missing_external_data(external):
    (external.parent / "weights.bin").unlink()
    with pytest.raises(SourceError, match=r"weights\.bin' is missing"):
        source(external).check()


def test_short_external_data(external):
    file = external.parent / "weights.bin"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(SourceError, match="bytes, the graph needs"):
        source(external).check()


@pytest.mark.parametrize("location", ["/etc/passwd", "../weights.bin"])
def test_external_data_outside_the_folder(external, location):
    (external.parent.parent / "weights.bin").write_bytes((external.parent / "weights.bin").read_bytes())
    relocate(external, location)
    with pytest.raises(SourceError, match="outside"):
        source(external).check()


def test_external_data_behind_a_link_that_leads_out(external, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.bin"
    (external.parent / "weights.bin").rename(elsewhere)
    (external.parent / "weights.bin").symlink_to(elsewhere)
    with pytest.raises(SourceError, match="outside"):
        source(external).check()


def test_the_fingerprint_covers_external_data(external):
    first = source(external).fingerprint()
    file = external.parent / "weights.bin"
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(data)
    assert source(external).fingerprint() != first


def test_inputs_give_sizes(path):
    cases = source(path, "ids:int64[batch=3,n=9]").program().parts["main"].cases
    assert cases[0].inputs["ids"].shape == (3, 9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ids:float32[1,2]", "the graph's input is"),
        ("ids:int64[1]", "the graph's input is"),
        ("x:int64[1,2]", "no input 'x'"),
    ],
)
def test_inputs_that_do_not_fit(path, text, said):
    with pytest.raises(UsageError, match=said):
        source(path, text).program()


def test_a_model_that_the_runtime_refuses(path):
    model = embedding_model()
    model.graph.node[0].op_type = "NoSuchOperator"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(SourceError, match="NoSuchOperator"):
        source(path).program()
