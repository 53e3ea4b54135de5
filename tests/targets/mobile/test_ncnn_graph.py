"""Graphs made ready for pnnx: what they compute stays, and, where ncnn is installed, ncnn computes it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgepack.exporters import SourceRequest
from edgepack.quantize.base import quantizers
from edgepack.runtime.sessions.ncnn import NcnnSession
from edgepack.targets.base import Context
from edgepack.targets.mobile._ncnn_graph import ready
from edgepack.targets.mobile.ncnn import Ncnn
from edgepack.toolchain.program import Part, Program, Signature, TensorSpec
from tests.exported import exported

needs_ncnn = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ncnn", "pnnx")),
    reason="the extra ncnn is not installed",
)
ENCODER = """
    one = Constant<value_ints = [1]>()
    both = Constant<value_ints = [1, 2]>()
    row = Gather<axis = 0>(table, ids)
    x = LayerNormalization<axis = -1>(row, scale, scale)
    seen = Cast<to = 9>(mask)
    wide = Unsqueeze(seen, both)
    zero = Constant<value_float = 0.0>()
    never = Constant<value_float = -inf>()
    bias = Where(wide, zero, never)
    heads = Constant<value_ints = [1, 6, 2, 8]>()
    split = Reshape(x, heads)
    q = Transpose<perm = [0, 2, 1, 3]>(split)
    k = Transpose<perm = [0, 2, 3, 1]>(split)
    scores = MatMul(q, k)
    masked = Add(scores, bias)
    share = Softmax<axis = -1>(masked)
    mixed = MatMul(share, q)
    back = Transpose<perm = [0, 2, 1, 3]>(mixed)
    whole = Constant<value_ints = [1, 6, 16]>()
    joined = Reshape(back, whole)
    z = MatMul(joined, w)
    last = Constant<value_ints = [2]>()
    column = Unsqueeze(mask, last)
    number = Cast<to = 1>(column)
    kept = Mul(z, number)
    total = ReduceSum<keepdims = 0>(kept, one)
    count = ReduceSum<keepdims = 0>(number, one)
    y = Div(total, count)
"""
LOGIC = """
    two = Constant<value_int = 2>()
    is = Equal(mask, two)
    seen = Cast<to = 9>(mask)
    not = Not(is)
    and = And(not, seen)
    or = Or(is, and)
    ten = Constant<value_float = 10.0>()
    a = Where(and, number, ten)
    b = Where(or, ten, number)
    one = Constant<value_ints = [1]>()
    mean = ReduceMean<keepdims = 1>(a, one)
    sum = Add(a, b)
    y = Add(sum, mean)
"""
IDS = TensorSpec("ids", "int64", (1, 6))
MASK = TensorSpec("mask", "int64", (1, 6))
NUMBER = TensorSpec("number", "float32", (1, 6))


def part(body: str, inputs: tuple[TensorSpec, ...], output: TensorSpec, folder: Path) -> Part:
    """A graph of these nodes, with random weights."""
    types = {"int64": "int64", "float32": "float"}
    ins, outs = (
        ", ".join(f"{types[s.dtype]}[{','.join(map(str, s.shape))}] {s.name}" for s in side)
        for side in (inputs, (output,))
    )
    proto = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 18]> g ({ins}) => ({outs}) {{{body}}}'
    )
    random = np.random.default_rng(0)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(random.standard_normal(shape).astype("f4"), name)
        for name, shape in (("table", (12, 16)), ("scale", (16,)), ("w", (16, 16)))
        if name in body
    )
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(onnx.shape_inference.infer_shapes(proto), folder / "main.onnx")
    return Part("main", folder / "main.onnx", Signature(inputs, (output,)))


CASES = [
    (ENCODER, (IDS, MASK), TensorSpec("y", "float32", (1, 16))),
    (LOGIC, (MASK, NUMBER), TensorSpec("y", "float32", (1, 6))),
]


def feeds(inputs: tuple[TensorSpec, ...], seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {
        "ids": random.integers(0, 12, (1, 6)),
        "mask": np.array([[1, 1, 2, 1, 0, 0]]),
        "number": random.standard_normal((1, 6)).astype("f4"),
    }
    return {spec.name: made[spec.name] for spec in inputs}


@pytest.mark.parametrize(("body", "inputs", "output"), CASES, ids=["encoder", "logic"])
def test_computes_the_same(
    body: str, inputs: tuple[TensorSpec, ...], output: TensorSpec, tmp_path: Path
) -> None:
    given = part(body, inputs, output, tmp_path)
    model = given.model()
    ready(model.graph)
    left = {node.op_type for node in model.graph}
    assert not left & {"Cast", "Where", "Not", "And", "Or", "Equal"}
    types = {value.name: value.dtype for value in model.graph.inputs}
    assert types["mask"] is ir.DataType.FLOAT
    assert types.get("ids", ir.DataType.INT64) is ir.DataType.INT64
    ir.save(model, tmp_path / "ready.onnx")
    before, after = (
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        for file in (given.path, tmp_path / "ready.onnx")
    )
    one = feeds(inputs, 1)
    (want,) = before.run(None, one)
    (got,) = after.run(None, {**one, "mask": one["mask"].astype("f4")})
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_integers_that_rows_are_looked_up_by_stay(tmp_path: Path) -> None:
    body = """
        row = Gather<axis = 0>(table, mask)
        number = Cast<to = 1>(mask)
        last = Constant<value_ints = [2]>()
        column = Unsqueeze(number, last)
        y = Mul(row, column)
    """
    model = part(body, (MASK,), TensorSpec("y", "float32", (1, 6, 16)), tmp_path).model()
    ready(model.graph)
    assert model.graph.inputs[0].dtype is ir.DataType.INT64
    assert "Cast" in {node.op_type for node in model.graph}


@needs_ncnn
@pytest.mark.parametrize(("body", "inputs", "output"), CASES, ids=["encoder", "logic"])
def test_ncnn_computes_the_same(
    body: str, inputs: tuple[TensorSpec, ...], output: TensorSpec, tmp_path: Path
) -> None:
    given = part(body, inputs, output, tmp_path)
    context = Context(source={}, sizes={}, time_limit_s=120)
    lowered = Ncnn().lower(Program({"main": given}), given, context, tmp_path / "out")
    reference = onnxruntime.InferenceSession(given.path, providers=["CPUExecutionProvider"])
    with NcnnSession(lowered.path, lowered.signature) as session:
        for seed in (1, 2):
            (want,) = reference.run(None, feeds(inputs, seed))
            got = session.run(feeds(inputs, seed))["y"]
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@needs_ncnn
@pytest.mark.slow
def test_minilm(minilm: Path, sentences: list[str], tmp_path: Path) -> None:
    """The sentence encoder with its mask, in float as near as rounding and with int8 products."""
    from tokenizers import Tokenizer

    program = exported(SourceRequest(str(minilm)), tmp_path / "program")
    (given,) = program.parts.values()
    context = Context(source={}, sizes={"batch": 1, "sequence": 32}, time_limit_s=300)
    lowered = Ncnn().lower(program, given, context, tmp_path / "lowered")
    narrow = quantizers.get("ncnn-dynamic")().quantize(lowered, "int8-dynamic", None, tmp_path / "int8")
    assert narrow.changed_nodes == 36
    compiled = Ncnn().compile(narrow, context, tmp_path / "out")
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.enable_truncation(32)
    tokenizer.enable_padding(length=32)
    reference = onnxruntime.InferenceSession(given.path, providers=["CPUExecutionProvider"])
    cosines = []
    with (
        NcnnSession(lowered.path, lowered.signature) as float_session,
        NcnnSession(tmp_path / "out" / compiled.run_file, narrow.signature) as session,
    ):
        for text in sentences[:24:2]:
            found = tokenizer.encode(text)
            feed = {
                "input_ids": np.array([found.ids]),
                "attention_mask": np.array([found.attention_mask]),
                "token_type_ids": np.array([found.type_ids]),
            }
            (want,) = reference.run(None, feed)
            np.testing.assert_allclose(float_session.run(feed)["sentence_embedding"], want, atol=2e-6)
            got = session.run(feed)["sentence_embedding"]
            cosines.append(float((got * want).sum() / np.linalg.norm(got) / np.linalg.norm(want)))
    assert min(cosines) > 0.99, cosines
