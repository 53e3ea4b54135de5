"""Every built-in rewrite: what it makes, that the numbers stay, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgepack.toolchain.errors import UnknownNameError
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.passes.weights import array
from edgepack.toolchain.results import NodeReason
from edgepack.toolchain.rewrites.base import ORDER, Cure, Device, apply, in_order, rewrites, versions

WIDE = Device(activation_bits=16)
NARROW = Device(activation_bits=16, wide_products=False)
SPECIAL = Device(element_products=True, most_padded_stride=3, drops_bounds=True)
HEADER = '<ir_version: 9, opset_import: ["": 20]>\n'


def build(text: str, **weights: np.ndarray) -> ir.Model:
    proto = onnx.parser.parse_model(HEADER + text)
    for name, values in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    model = ir.serde.deserialize_model(proto)
    clean_up(model)
    return model


def run(model: ir.Model, feeds: dict[str, np.ndarray]) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    content = ir.serde.serialize_model(model).SerializeToString()
    result: np.ndarray = ort.InferenceSession(content, options).run(None, feeds)[0]
    return result


def rewritten(
    model: ir.Model, name: str, device: Device, feeds: dict[str, np.ndarray], atol: float
) -> list[str]:
    """Apply one, compare outputs, check that there is nothing left to rewrite; the operators that it made."""
    faces = [value.name for value in (*model.graph.inputs, *model.graph.outputs)]
    before = run(model, feeds)
    (done,) = apply(model, [name], device)
    assert (done.name, done.count > 0, bool(done.why)) == (name, True, True)
    assert str(done).startswith(f"Rewrote {done.count} x {name}: ")
    np.testing.assert_allclose(run(model, feeds), before, atol=atol, rtol=0)
    assert [value.name for value in (*model.graph.inputs, *model.graph.outputs)] == faces
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    assert apply(model, [name], device) == []
    return [node.op_type for node in model.graph]


def test_registry() -> None:
    assert [member.name for member in in_order()][: len(ORDER)] == list(ORDER)
    for name, member in rewrites.items():
        assert member.why, name
        wanted = any(member.first(device) for device in (WIDE, SPECIAL))
        assert member.cures or wanted or member.trial(Device(fast_bytes=1)), name
        assert len(member.version) == 16
        assert versions([name]) == {name: member.version}
    with pytest.raises(UnknownNameError, match="Did you mean 'gelu'"):
        apply(build("g (float[2] x) => (float[2] y) { y = Relu(x) }"), ["gelo"], WIDE)


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("layer norm", "LayerNormalization"),
        ("root mean square norm", "RMSNormalization"),
        ("gelu", "Gelu"),
        ("root division", "Div"),
    ],
)
def test_what_a_device_has_is_not_rewritten_before_it_is_refused(name: str, operator: str) -> None:
    member = rewrites.get(name)
    assert member.first(WIDE)
    assert not member.first(replace(WIDE, has=(operator,)))


def test_a_cure_reads_operator_and_reason() -> None:
    refused = NodeReason(node="n", op="GELU", reason="IFM must be Int8", cure="")
    assert Cure("GELU").fits(refused)
    assert Cure(None, "must be Int").fits(refused)
    assert not Cure("GELU", "dynamic").fits(refused)
    assert not Cure("DIV").fits(refused)


def test_static_shapes() -> None:
    model = build("g (float[batch,3] x) => (float[batch,3] y) { y = Relu(x) }")
    (done,) = apply(model, ["static shapes"], Device(sizes={"batch": 4}))
    assert done.count >= 1
    assert list(model.graph.outputs[0].shape or ()) == [4, 3]


@pytest.mark.parametrize("form", ["Gelu", "Erf"])
def test_gelu(form: str) -> None:
    text = "y = Gelu(x)"
    if form == "Erf":
        text = "d = Div(x, root) e = Erf(d) p = Add(e, one) m = Mul(x, p) y = Mul(m, half)"
    constants = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
    weights = {k: np.array(v) for k, v in constants.items()} if form == "Erf" else {}
    model = build(f"g (float[1,401] x) => (float[1,401] y) {{ {text} }}", **weights)
    x = np.linspace(-30, 30, 401, dtype=np.float32)[None]
    assert "Sigmoid" in rewritten(model, "gelu", WIDE, {"x": x}, 1.1e-4)
    bounded = next(node for node in model.graph if node.op_type == "Clip").outputs[0].name
    assert bounded == "y/bounded"  # what a compiler says of it can be followed back


@pytest.mark.parametrize(("device", "product"), [(WIDE, True), (NARROW, False)])
@pytest.mark.parametrize("epsilon", [1e-12, 1e-2])
def test_layer_norm(device: Device, epsilon: float, *, product: bool) -> None:
    random = np.random.default_rng(3)
    gain, bias = (random.standard_normal(32).astype(np.float32) for _ in range(2))
    model = build(
        f"g (float[2,5,32] x) => (float[2,5,32] y) {{ y = LayerNormalization<axis=-1, epsilon={epsilon}>(x, g, b) }}",
        g=gain,
        b=bias,
    )
    x = random.standard_normal((2, 5, 32)).astype(np.float32)
    x[0, 0, 7] = 300.0  # an outlier
    assert ("MatMul" in rewritten(model, "layer norm", device, {"x": x}, 2e-5)) is product


def test_layer_norm_leaves_what_it_does_not_know() -> None:
    body = "y = LayerNormalization<axis=1>(x, g)"
    over_two = build(f"g (float[2,5,4] x) => (float[2,5,4] y) {{ {body} }}", g=np.ones((5, 4), np.float32))
    free = build(
        "g (float[n,4] x) => (float[n,4] y) { y = LayerNormalization(x, g) }", g=np.ones(4, np.float32)
    )
    assert apply(over_two, ["layer norm"], WIDE) == []
    assert apply(free, ["layer norm"], WIDE) == []


@pytest.mark.parametrize(("device", "product"), [(WIDE, True), (NARROW, False)])
@pytest.mark.parametrize("epsilon", [1e-12, 1e-2])
@pytest.mark.parametrize("square", ["q = Mul(x, x)", "q = Pow(x, two)"])
def test_root_mean_square_norm(square: str, epsilon: float, device: Device, *, product: bool) -> None:
    model = build(
        f"g (float[2,5,32] x) => (float[2,5,32] y) {{ {square} m = ReduceMean(q, axes) s = Add(m, eps) "
        "t = Sqrt(s) r = Reciprocal(t) y = Mul(x, r) }",
        axes=np.array([-1]),
        eps=np.array(epsilon, np.float32),
        two=np.array(2, np.float32),
    )
    x = np.random.default_rng(4).standard_normal((2, 5, 32)).astype(np.float32)
    x[0, 0, 7] = 300.0  # an outlier
    x[0, 1] = -abs(x[0, 1])  # nothing positive
    x[1] *= 1e-3  # rows of another size
    x[1, 2] = 0.0  # and one of none
    assert ("MatMul" in rewritten(model, "root mean square norm", device, {"x": x}, 2e-5)) is product


@pytest.mark.parametrize(
    "text",
    [
        "q = Mul(x, z) m = ReduceMean(q, axes) s = Add(m, eps) t = Sqrt(s) r = Reciprocal(t) y = Mul(x, r)",
        "q = Mul(x, x) m = ReduceMean(q, first) s = Add(m, eps) t = Sqrt(s) r = Reciprocal(t) y = Mul(x, r)",
        "q = Mul(x, x) m = ReduceMean(q, axes) s = Add(m, zero) t = Sqrt(s) r = Reciprocal(t) y = Mul(x, r)",
        "q = Mul(x, x) m = ReduceMean(q, axes) s = Add(m, eps) t = Sqrt(s) r = Reciprocal(t) y = Mul(z, r)",
    ],
    ids=["of two tensors", "over rows", "without eps", "of another tensor"],
)
def test_other_products_with_inverse_roots_stay(text: str) -> None:
    model = build(
        f"g (float[3,8] x, float[3,8] z) => (float[3,8] y) {{ {text} }}",
        axes=np.array([-1]),
        first=np.array([0]),
        eps=np.array(1e-5, np.float32),
        zero=np.array(0, np.float32),
    )
    assert apply(model, ["root mean square norm"], WIDE) == []


@pytest.mark.parametrize(
    "text",
    [
        "n = ReduceL2(x, axes) c = Clip(n, least) e = Expand(c, shape) y = Div(x, e)",
        "q = Mul(x, x) s = ReduceSum(q, axes) r = Sqrt(s) c = Max(least, r) y = Div(x, c)",
        "n = ReduceSum<keepdims=1>(x, axes) a = Abs(n) c = Clip(a, least) y = Div(x, c)",
    ],
)
def test_root_division(text: str) -> None:
    model = build(
        f"g (float[3,8] x) => (float[3,8] y) {{ {text} }}",
        axes=np.array([1]),
        least=np.array(0.25, np.float32),
        shape=np.array([3, 8]),
    )
    x = np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)
    x[2] = 0  # the bound counts
    ops = rewritten(model, "root division", WIDE, {"x": x}, 1e-5)
    assert not {"Div", "Expand", "ReduceL2"} & set(ops)


def test_a_quotient_without_a_bound_stays() -> None:
    model = build("g (float[3] x, float[3] z) => (float[3] y) { y = Div(x, z) }")
    assert apply(model, ["root division"], WIDE) == []


def test_known_lookups() -> None:
    table = np.random.default_rng(2).standard_normal((600, 16)).astype(np.float32)
    model = build(
        "g (float[2,40,16] x) => (float[2,40,16] y) { p = Gather(t, i) y = Add(x, p) }",
        t=table,
        i=np.arange(40)[None],
    )
    x = np.ones((2, 40, 16), np.float32)
    assert rewritten(model, "known lookups", WIDE, {"x": x}, 0) == ["Add"]


MASKED = """g (int64[1,6] m, float[1,2,6,6] s) => (float[1,2,6,6] y, float[1,6,1] w) {
  c = Cast<to=9>(m)
  u = Unsqueeze(c, axes)
  b = Where(u, seen, hidden)
  z = Add(s, b)
  y = Softmax<axis=-1>(z)
  v = Unsqueeze(m, last)
  f = Cast<to=1>(v)
  w = Add(f, f)
}"""


def masked(hidden: float) -> tuple[ir.Model, dict[str, np.ndarray]]:
    model = build(
        MASKED, axes=np.array([1, 2]), last=np.array([2]), seen=np.array(0, np.float32),
        hidden=np.array(hidden, np.float32),
    )  # fmt: skip
    random = np.random.default_rng(1)
    scores = random.standard_normal((1, 2, 6, 6)).astype(np.float32) * 8
    return model, {"m": np.array([[1, 1, 0, 7, -1, 0]]), "s": scores}


@pytest.mark.parametrize("hidden", [-30.0, float(np.finfo(np.float32).min)])
def test_a_mask_is_cast_where_it_enters_and_becomes_arithmetic(hidden: float) -> None:
    model, feeds = masked(hidden)
    before = run(model, feeds)
    operators = rewritten(model, "early casts", WIDE, feeds, 0)
    assert operators.count("Cast") == 2  # one of the integers, and one of that to truth values
    assert "Where" not in rewritten(model, "additive masks", WIDE, feeds, 1e-7)
    np.testing.assert_allclose(run(model, feeds), before, atol=1e-7, rtol=0)
    numbers = [float(array(v.const_value).min()) for v in model.graph.initializers.values() if v.const_value]
    assert min(numbers) == max(hidden, -100.0)  # what 16 bits can hold beside the scores


def test_a_mask_that_is_no_score_keeps_its_numbers() -> None:
    text = MASKED.replace("y = Softmax<axis=-1>(z)", "y = Relu(z)")
    model = build(
        text, axes=np.array([1, 2]), last=np.array([2]), seen=np.array(0, np.float32),
        hidden=np.array(-1e9, np.float32),
    )  # fmt: skip
    apply(model, ["early casts"], WIDE)
    assert apply(model, ["additive masks"], WIDE) == []


def test_a_scale_in_front_of_a_unit_vector_is_free() -> None:
    text = """g (float[2,8] s, float[2,1] n) => (float[2,8] y) {
      c = Clip(n, least)
      x = Div(s, c)
      l = ReduceL2<keepdims=1>(x, axes)
      k = Clip(l, tiny)
      y = Div(x, k)
    }"""
    numbers = {
        "least": np.array(1e-9, np.float32),
        "tiny": np.array(1e-12, np.float32),
        "axes": np.array([1]),
    }
    random = np.random.default_rng(2)
    s = random.standard_normal((2, 8)).astype(np.float32)
    feeds = {"s": s, "n": np.array([[3], [17]], np.float32)}
    operators = rewritten(build(text, **numbers), "free scale", WIDE, feeds, 1e-6)
    assert operators == ["ReduceL2", "Clip", "Div"]
    across = build(text.replace("float[2,1] n", "float[2,8] n"), **numbers)
    assert apply(across, ["free scale"], WIDE) == []  # one divisor an element changes the direction
    signed = build(text.replace("c = Clip(n, least)", "c = Neg(n)"), **numbers)
    assert apply(signed, ["free scale"], WIDE) == []


POOLED = """g (float[2,6,4,4] x) => (float[2,5] y) {
  p = GlobalAveragePool(x)
  f = Flatten(p)
  TAIL
}"""


@pytest.mark.parametrize(
    ("tail", "shapes"),
    [
        ("y = Gemm<transB=1>(f, w, b)", ((5, 6), (5,))),
        ("y = Gemm(f, w, b)", ((6, 5), (1,))),
        ("y = Gemm(f, w)", ((6, 5), None)),
    ],
)
def test_pixel_scores(tail: str, shapes: tuple[tuple[int, ...], tuple[int, ...] | None]) -> None:
    random = np.random.default_rng(0)
    weights = {
        name: random.standard_normal(shape, np.float32)
        for name, shape in zip("wb", shapes, strict=True)
        if shape is not None
    }
    model = build(POOLED.replace("TAIL", tail), **weights)
    feeds = {"x": random.standard_normal((2, 6, 4, 4), np.float32)}
    assert rewritten(model, "pixel scores", Device(), feeds, 1e-5) == ["GlobalAveragePool", "Conv", "Reshape"]


@pytest.mark.parametrize(
    "tail",
    [
        "h = Gemm(f, w)  y = Relu(h)",  # goes on as a row
        "y = Gemm<alpha=2.0>(f, w)",
        "r = Relu(f)  y = Gemm(r, w)",  # no image's
    ],
)
def test_other_products_are_no_pixel_scores(tail: str) -> None:
    model = build(POOLED.replace("TAIL", tail), w=np.ones((6, 5), np.float32))
    assert apply(model, ["pixel scores"], Device()) == []


ELEMENTS = Device(activation_bits=16, wide_products=False, element_products=True)


@pytest.mark.parametrize(
    ("text", "operators"),
    [
        (  # keys that come transposed are not transposed twice
            """g (float[1,2,3,4] a, float[1,5,2,4] b) => (float[1,2,3,5] y) {
              t = Transpose<perm=[0,2,3,1]>(b)
              y = MatMul(a, t)
            }""",
            ["Transpose", "Reshape", "Reshape", "Mul", "MatMul", "Reshape"],
        ),
        (
            "g (float[2,3,4] a, float[4,5] b) => (float[2,3,5] y) { y = MatMul(a, b) }",
            ["Reshape", "Transpose", "Reshape", "Mul", "MatMul", "Reshape"],
        ),
        (
            """g (float[3,4] a, float[5,4] b) => (float[3,5] y) {
              t = Transpose<perm=[1,0]>(b)
              y = MatMul(a, t)
            }""",
            ["Reshape", "Reshape", "Mul", "MatMul", "Reshape"],
        ),
    ],
)
def test_products_by_elements(text: str, operators: list[str]) -> None:
    model = build(text)
    random = np.random.default_rng(0)
    feeds = {
        str(value.name): random.standard_normal(tuple(value.shape or ()), np.float32)
        for value in model.graph.inputs
    }
    made = rewritten(model, "products by elements", ELEMENTS, feeds, 1e-5)
    assert sorted(made) == sorted(operators)


def test_other_products_stay_whole() -> None:
    text = "g (float[2,1,3,4] a, float[1,2,4,5] b) => (float[2,2,3,5] y) { y = MatMul(a, b) }"
    crossed = build(text)  # neither batch is the other's
    assert apply(crossed, ["products by elements"], ELEMENTS) == []
    large = build("g (float[512,512] a, float[512,512] b) => (float[512,512] y) { y = MatMul(a, b) }")
    assert apply(large, ["products by elements"], ELEMENTS) == []
    text = "g (float[3,4] a) => (float[3,5] y) { y = MatMul(a, w) }"
    constant = build(text, w=np.ones((4, 5), np.float32))
    assert apply(constant, ["products by elements"], ELEMENTS) == []
    product = build("g (float[3,4] a, float[4,5] b) => (float[3,5] y) { y = MatMul(a, b) }")
    assert apply(product, ["products by elements"], NARROW) == []


def test_reciprocal() -> None:
    model = build("g (float[2,3] x) => (float[2,3] y) { r = Sqrt(x)  y = Reciprocal(r) }")
    feeds = {"x": np.random.default_rng(0).random((2, 3), np.float32) + np.float32(0.01)}
    assert rewritten(model, "reciprocal", WIDE, feeds, 1e-6) == ["Sqrt", "Div"]
    member = rewrites.get("reciprocal")
    assert member.first(Device(lacks=("Reciprocal",)))
    assert not member.first(WIDE)


@pytest.mark.parametrize(
    ("text", "ops"),
    [
        ("a = Sub(x, c)  r = Relu(a)  y = Add(r, c)", ["Sub", "Max", "Add"]),
        ("a = Mul(v, x)  y = Clip(a, d, c)", ["Mul", "Max", "Min"]),
        ("a = Div(x, v)  y = Clip(a, , c)", ["Div", "Min"]),
        ("a = Add(x, x)  y = Relu(a)", None),
        ("m = ReduceMax<keepdims = 0>(x)  a = Add(x, c)  y = Clip(a, m, c)", None),
        ("a = Add(x, c)  y = Abs(a)", None),
        ("i = Cast<to = 7>(x)  j = Add(i, k)  l = Clip(j, k)  y = Cast<to = 1>(l)", None),
        ("y = Relu(x)", None),
    ],
)
def test_kept_bounds(text: str, ops: list[str] | None) -> None:
    model = build(
        "g (float[2,3] x) => (float[2,3] y) "
        f"<float[1] c = {{1}}, float d = {{0.25}}, float[3] v = {{1, 2, 3}}, int64 k = {{1}}> {{ {text} }}"
    )
    if ops is None:
        assert apply(model, ["kept bounds"], WIDE) == []
        return
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 3), np.float32) * np.float32(2)}
    assert rewritten(model, "kept bounds", WIDE, feeds, 1e-6) == ops
    member = rewrites.get("kept bounds")
    assert member.first(Device(drops_bounds=True))
    assert not member.first(WIDE)


def test_logarithm_of_a_sum() -> None:
    text = """g (float[41] x) => (float[41] y)
        <float[1] one = {1}, float[1] none = {0}>
        { a = Abs(x)  n = Neg(a)  t = Exp(n)  s = Add(one, t)  l = Log(s)  p = Max(x, none)  y = Add(p, l) }"""
    feeds = {"x": np.linspace(-20, 20, 41, dtype=np.float32)}
    ops = rewritten(build(text), "logarithm of a sum", WIDE, feeds, 3e-6)
    assert "Log" not in ops
    assert ops.count("Div") == 1
    other = build(
        "g (float[3] x) => (float[3] y) <float[1] one = {1}> { t = Exp(x)  s = Add(t, one)  y = Log(s) }"
    )
    assert apply(other, ["logarithm of a sum"], WIDE) == []  # t may be anything: there is no bound on z
    member = rewrites.get("logarithm of a sum")
    assert member.first(Device(16, lacks=("Log",)))
    assert not member.first(WIDE)


STRIDED = "g (float[1,2,11,13] x) => (float[1,3,3,3] y) { y = Conv<strides=[4,4], pads=[1,0,2,1]>(x, w, b) }"


def test_padded_strides() -> None:
    random = np.random.default_rng(0)
    weights = {
        "w": random.standard_normal((3, 2, 5, 5), np.float32),
        "b": random.standard_normal(3, np.float32),
    }
    feeds = {"x": random.standard_normal((1, 2, 11, 13), np.float32)}
    made = rewritten(build(STRIDED, **weights), "padded strides", SPECIAL, feeds, 1e-5)
    assert made == ["Concat", "Concat", "Conv"]
    assert apply(build(STRIDED, **weights), ["padded strides"], Device()) == []
    short = build(STRIDED, **weights)
    assert apply(short, ["padded strides"], Device(most_padded_stride=4)) == []


BLOCKS = "g (float[1,3,2,5] x) => (float[1,2,8,20] y) { y = ConvTranspose<strides=[4,4]>(x, w, b) }"


def test_transposed_steps() -> None:
    random = np.random.default_rng(0)
    weights = {
        "w": random.standard_normal((3, 2, 4, 4), np.float32),
        "b": random.standard_normal(2, np.float32),
    }
    feeds = {"x": random.standard_normal((1, 3, 2, 5), np.float32)}
    made = rewritten(build(BLOCKS, **weights), "transposed steps", Device(), feeds, 1e-5)
    assert made == ["ConvTranspose", "ConvTranspose"]
    overlapping = build(BLOCKS.replace("strides=[4,4]", "strides=[4,4], pads=[1,1,1,1]"), **weights)
    assert apply(overlapping, ["transposed steps"], Device()) == []
