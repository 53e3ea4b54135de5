"""Files that are made to hurt a reader, or are broken: a clear refusal, and the process lives on."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from edgepack.exporters.sources import SourceRequest
from edgepack.exporters.sources.onnx_file import OnnxSource
from edgepack.toolchain.errors import SourceError

HEADER = '<ir_version: 10, opset_import: ["": 18, "own": 1]>\n'


@pytest.fixture
def refused(tmp_path):
    """Both the check and the program refuse it with the words."""

    def run(model, words):
        path = tmp_path / "model.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        source = OnnxSource(SourceRequest(str(path)))
        for step in (source.check, source.fingerprint, source.program):
            with pytest.raises(SourceError, match=words):
                step()

    return run


def parsed(text):
    return parser.parse_model(HEADER + text)


def test_a_function_that_calls_itself(refused):
    text = """g (float[N] x) => (float[N] y) { y = own.f(x) }
    <opset_import: ["": 18, "own": 1], domain: "own"> f (a) => (b) { b = own.f(a) }"""
    refused(parsed(text), "'f' calls itself")


def test_functions_that_call_one_another_within_a_branch(refused):
    text = """g (float[N] x) => (float[N] y) { y = own.f(x) }
    <opset_import: ["": 18, "own": 1], domain: "own"> f (a) => (b) {
        c = Constant<value = bool {1}>()
        b = If (c) <then_branch = t () => (float[N] u) { u = own.h(a) },
                    else_branch = e () => (float[N] v) { v = Relu(a) }>
    }
    <opset_import: ["": 18, "own": 1], domain: "own"> h (a) => (b) { b = own.f(a) }"""
    refused(parsed(text), "calls itself")


def test_ten_thousand_functions_in_a_chain_are_no_recursion(tmp_path):
    # The search for cycles must not recurse itself; what the runtime says of such a model is its business.
    model = parsed("g (float[N] x) => (float[N] y) { y = Relu(x) }")
    for index in range(10_000):
        node = helper.make_node(f"f{index + 1}" if index < 9_999 else "Relu", ["a"], ["b"])
        node.domain = "own" if index < 9_999 else ""
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", f"f{index}", ["a"], ["b"], [node], opsets))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    OnnxSource(SourceRequest(str(path))).check()


def test_a_function_that_is_defined_twice(refused):
    model = parsed("""g (float[N] x) => (float[N] y) { y = own.f(x) }
    <opset_import: ["": 18], domain: "own"> f (a) => (b) { b = Relu(a) }""")
    model.functions.append(model.functions[0])
    refused(model, "'f' is defined twice")


def test_a_cycle(refused):
    refused(
        parsed("g (float[N] x) => (float[N] y) { a = Add(x, b) b = Relu(a) y = Relu(b) }"),
        "'b' and is in a cycle",
    )


def test_a_name_that_nothing_computes(refused):
    refused(parsed("g (float[N] x) => (float[N] y) { y = Add(x, q) }"), "'q', which nothing computes")


def test_an_output_that_nothing_computes(refused):
    model = parsed("g (float[N] x) => (float[N] y) { y = Relu(x) }")
    model.graph.output[0].name = "z"
    refused(model, "Nothing computes the output 'z'")


@pytest.mark.parametrize("side", ["input", "node", "initializer"])
def test_one_name_for_two_values(refused, side):
    model = parsed("g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Add(x, w) }")
    if side == "input":
        model.graph.input.append(model.graph.input[0])
    elif side == "node":
        model.graph.node.append(helper.make_node("Relu", ["x"], ["y"]))
    else:
        model.graph.initializer.append(model.graph.initializer[0])
    refused(model, "is given to two values")


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        ([1 << 40], "declares"),
        ([1 << 62, 1 << 62], "cannot be"),
        ([-4], "cannot be"),
        ([3], "declares"),
        ([0], "declares"),
    ],
)
def test_dimensions_that_do_not_fit_the_bytes(refused, dims, words):
    model = parsed("g (float[N] x) => (float[N] y) <float[2] w = {1, 2}> { y = Add(x, w) }")
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    model.graph.initializer[0].dims[:] = dims
    refused(model, words)


def test_a_type_that_onnx_does_not_have(refused):
    model = parsed("g (float[N] x) => (float[N] y) <float[2] w = {1, 2}> { y = Add(x, w) }")
    model.graph.initializer[0].data_type = 999
    refused(model, "type 999")


def test_external_data_of_an_attribute_is_checked_too(refused):
    model = parsed("g (float[N] x) => (float[N] y) { c = Constant<value = float[2] {1, 2}>() y = Add(x, c) }")
    tensor = model.graph.node[0].attribute[0].t
    tensor.ClearField("float_data")
    onnx.external_data_helper.set_external_data(_raw(tensor), "../../etc/passwd", 0, 8)
    refused(model, "outside the model's folder")


@pytest.mark.parametrize("entry", [("offset", "-8"), ("offset", "x"), ("length", "9999999999999")])
def test_external_data_with_a_wrong_place(refused, tmp_path, entry):
    (tmp_path / "w.bin").write_bytes(bytes(8))
    model = parsed("g (float[N] x) => (float[N] y) <float[2] w = {1, 2}> { y = Add(x, w) }")
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    onnx.external_data_helper.set_external_data(_raw(tensor), "w.bin")
    tensor.external_data.add(key=entry[0], value=entry[1])
    refused(model, "external data of 'w'")


def field(number, data):
    """A length-delimited field of protobuf's wire format."""
    length, size = b"", len(data)
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def test_subgraphs_nested_beyond_protobufs_limit(refused):
    graph = b""
    for _ in range(5000):
        graph = field(1, field(5, field(6, graph)))  # graph.node.attribute.g
    refused(field(7, graph), "not a whole ONNX model")


def test_subgraphs_nested_as_deep_as_protobuf_allows(refused):
    graph = b""
    for _ in range(32):
        graph = field(1, field(5, field(6, graph) + bytes([20 << 3 & 0x7F | 0x80, 1, 5])))
    refused(field(7, graph + field(12, field(1, b"y"))), "Nothing computes the output")


def test_nodes_out_of_order_are_sorted(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(parsed("g (float[N] x) => (float[N] y) { y = Neg(b) b = Relu(a) a = Neg(x) }"), path)
    program = OnnxSource(SourceRequest(str(path))).program()
    assert "nodes sorted" in program.notes
    part = program.parts["main"]
    assert [node.op_type for node in onnx.load(part.path).graph.node] == ["Neg", "Relu", "Neg"]
    case = part.cases[0]
    np.testing.assert_array_equal(case.outputs["y"], -np.maximum(-case.inputs["x"], 0))


def test_a_constant_of_gigabytes_made_by_a_node_is_not_computed(tmp_path):
    # 64 TB: the runtime cannot, and says so.
    model = parsed(
        "g (float[N] x) => (float[N] y) { s = Constant<value = int64[1] {17592186044416}>() "
        "c = ConstantOfShape(s) m = ReduceMax(c) y = Add(x, m) }"
    )
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    with pytest.raises(SourceError, match="does not run"):
        OnnxSource(SourceRequest(str(path))).program()


def test_a_file_beyond_protobufs_limit_names_the_cure(refused, tmp_path):
    path = tmp_path / "model.onnx"
    path.touch()
    os.truncate(path, (1 << 31) + 1)
    with pytest.raises(SourceError, match=r"2\.0 GiB.*ends at 2 GiB.*save_as_external_data=True"):
        OnnxSource(SourceRequest(str(path))).check()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("g (seq(float[N]) x) => (int64 y) { y = SequenceLength(x) }", "'x' is a sequence"),
        ("g (float[N] x) => (seq(float[N]) y) { y = SequenceConstruct(x) }", "'y' is a sequence"),
        ("g (string[N] x) => (string[N] y) { y = Identity(x) }", "'x' has the type string"),
        ("g (bfloat16[N] x) => (bfloat16[N] y) { y = Identity(x) }", "'x' has the type bfloat16"),
    ],
)
def test_inputs_and_outputs_that_are_no_numbers_are_named(tmp_path, text, words):
    path = tmp_path / "model.onnx"
    onnx.save(parsed(text), path)
    with pytest.raises(SourceError, match=words):
        OnnxSource(SourceRequest(str(path))).check()


def _raw(tensor: TensorProto) -> TensorProto:
    """The same tensor with bytes, which is what can be made external."""
    tensor.raw_data = bytes(8)
    return tensor
