"""What a file says of its dimensions: sums, names that are missing, and outputs that are declared wrong."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.exporters.sources.onnx_file import OnnxSource
from edgepack.toolchain.errors import UsageError

FLOAT = TensorProto.FLOAT
SUM = "past_sequence_length + 1"


def written(path, nodes, inputs, outputs, **weights):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
        path / "model.onnx",
    )
    return path / "model.onnx"


def program_of(path, *inputs):
    source = open_source(SourceRequest(str(path), inputs=inputs))
    assert isinstance(source, OnnxSource)
    return source.program()


def decode_step(path, names):
    """A cache [b, past, 8] and a token [b, 1, 8], masked: what exporters write of a language model's step."""
    nodes = [
        helper.make_node("Concat", ["past", "token"], ["present"], axis=1),
        helper.make_node("ReduceSum", ["present", "last"], ["sums"], keepdims=0),
        helper.make_node("Cast", ["mask"], ["shown"], to=FLOAT),
        helper.make_node("Mul", ["sums", "shown"], ["y"]),
    ]
    inputs = [
        ("past", FLOAT, ["b", names[0], 8]),
        ("token", FLOAT, ["b", 1, 8]),
        ("mask", TensorProto.INT64, ["b", names[1]]),
    ]
    return written(path, nodes, inputs, [("y", ["b", names[1]])], last=np.array([2]))


def test_a_sum_follows_the_name_that_it_is_made_of(tmp_path):
    path = decode_step(tmp_path, ("past_sequence_length", SUM))
    part = program_of(path).parts["main"]
    assert part.signature.symbols == ("b", "past_sequence_length")
    lengths = {(case.inputs["past"].shape[1], case.inputs["mask"].shape[1]) for case in part.cases}
    assert len(lengths) == 3
    assert all(whole == past + 1 for past, whole in lengths)
    assert part.signature.pinned({"b": 2, "past_sequence_length": 5}).output("y").shape == (2, 6)


def test_asking_for_a_sum_of_another_size_is_refused(tmp_path):
    path = decode_step(tmp_path, ("past_sequence_length", SUM))
    good = program_of(path, "past:float32[2,p=4,8]", "mask:int64[2,m=5]")
    assert good.parts["main"].cases[0].inputs["mask"].shape == (2, 5)
    with pytest.raises(UsageError, match="'past_sequence_length \\+ 1' is 5 then"):
        program_of(path, "past:float32[2,p=4,8]", "mask:int64[2,m=7]")


@pytest.mark.parametrize("name", ["past + tokens", "a + 1", "2*n + 1", "n-1", None])
def test_a_formula_of_names_that_no_input_has_is_a_size_of_its_own(tmp_path, name):
    node = helper.make_node("Relu", ["x"], ["y"])
    path = written(tmp_path, [node], [("x", FLOAT, [name, 4])], [("y", [name, 4])])
    part = program_of(path).parts["main"]
    assert len(part.signature.symbols) == 1
    assert len({case.inputs["x"].shape for case in part.cases}) == 3
    assert part.signature.output("y").shape[0] == part.signature.symbols[0]
    assert part.signature.pinned({part.signature.symbols[0]: 3}).input("x").shape == (3, 4)


def test_an_output_that_is_declared_wrong_is_given_its_true_shape(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0]),
    ]
    path = written(
        tmp_path,
        nodes,
        [("x", FLOAT, ["n", "m"])],
        [("y", ["n", 5]), ("turned", ["n", "m"])],
        w=np.ones((8, 4), np.float32),
    )
    program = program_of(path, "x:float32[n=3,m=8]")
    outputs = program.parts["main"].signature
    assert outputs.output("y").shape == ("n", 4)
    assert any("y:float32[n,5] is declared so, and is in truth y:float32[n,4]" in n for n in program.notes)
    assert outputs.output("turned").shape == ("m", "n")


def test_what_is_declared_right_stays(tmp_path):
    node = helper.make_node("NonZero", ["x"], ["found"])
    cast = helper.make_node("Cast", ["found"], ["y"], to=FLOAT)
    path = written(tmp_path, [node, cast], [("x", FLOAT, ["n", 4])], [("y", [2, "many"])])
    program = program_of(path)
    assert program.parts["main"].signature.output("y").shape == (2, "many")
    assert not program.notes
