"""Between layers of one bit the activations become bits, and every output stays what it was, bit for bit."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgepack.runtime import kernels
from edgepack.runtime.kernels import functions
from edgepack.toolchain.native_operators import native_nodes
from edgepack.toolchain.passes.base import passes
from edgepack.toolchain.passes.binary_chains import chained
from tests.runtime.kernels.conftest import library  # noqa: F401 - a fixture

LINEAR = """
<ir_version: 8, opset_import: ["" : 18, "edgepack" : 1]>
g (float[M, 37] x) => (float[M, 9] y) {
    a = edgepack.BinLinear <K = 37> (x, w1, alpha1, bias1, shift1)
    @BETWEEN@
    y = edgepack.BinLinear <K = 44> (b, w2, alpha2, bias2, shift2)
}
"""
CONV = """
<ir_version: 8, opset_import: ["" : 18, "edgepack" : 1]>
g (float[B, 13, 9, 7] x) => (float[B, 9, 9, 7] y) {
    a = edgepack.BinConv <K = 13, group = 1, strides = [1, 1], dilations = [1, 1], pads = [1, 1, 1, 1]>
        (x, w1, alpha1, bias1, shift1)
    @BETWEEN@
    y = edgepack.BinConv <K = 44, group = 1, strides = [1, 1], dilations = [1, 1], pads = [1, 1, 1, 1]>
        (b, w2, alpha2, bias2, shift2)
}
"""
NORM = "b = BatchNormalization <epsilon = 0.001> (a, g, o, m, v)"
RPRELU = "c = Sub(a, o) d = PRelu(c, g) b = Add(d, m)"
DIAMOND = "c = Sub(a, o) p = Greater(c, zero) d = Mul(c, g) e = Where(p, c, d) b = Add(e, m)"
BETWEEN = {
    "nothing": "b = Identity(a)",
    "norm": NORM,
    "scales": "c = Mul(a, g) d = Add(c, o) e = Div(d, v) b = Sub(m, e)",
    "clip": NORM.replace("b =", "c =") + " b = Clip(c, minus, plus)",
    "relu": "c = Add(a, o) b = Relu(c)",
    "leaky": "c = Add(a, o) b = LeakyRelu <alpha = 0.1> (c)",
    "rprelu": RPRELU,
    "diamond": DIAMOND,
}


def model_of(
    text: str, between: str, *, seed: int = 0, changes: dict[str, np.ndarray] | None = None
) -> ir.Model:
    """With scales of both signs and some zeros, slopes of both signs, and shifts."""
    rng = np.random.default_rng(seed)
    proto = onnx.parser.parse_model(text.replace("@BETWEEN@", between))
    conv = "BinConv" in text
    norm = "BatchNormalization" in between

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def weights(n: int, k: int) -> np.ndarray:
        return np.packbits(rng.integers(0, 2, (n, 3, 3, k) if conv else (n, k)), axis=-1, bitorder="little")

    along = (44, 1, 1) if conv and not norm else (44,)
    constants = {
        "w1": weights(44, 13 if conv else 37), "alpha1": normal(44), "bias1": 9 * normal(44),
        "shift1": normal(13 if conv else 37),
        "w2": weights(9, 44), "alpha2": normal(9), "bias2": normal(9), "shift2": normal(44),
        "g": normal(*along), "o": 9 * normal(*along), "m": 3 * normal(*along), "v": abs(normal(*along)) + 1,
        "zero": np.float32(0), "minus": np.float32(-1), "plus": np.float32(1),
        "three": np.array([-1, 2, 44], np.int64), "two": np.array([-1, 44], np.int64),
        **(changes or {}),
    }  # fmt: skip
    constants["alpha1"][:4] = 0, -0.0, 1e-40, 1e-3
    read = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(value), name)
        for name, value in constants.items()
        if name in read
    )
    model = ir.from_proto(proto)
    functions.add_fallbacks(model)
    passes.get("shapes")(model)
    return model


def run(model: ir.Model, x: np.ndarray, *, native: bool = True) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if native:
        assert kernels.register(options), kernels.why_not()
    content = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {"x": x})]


def inputs_of(model: ir.Model, rng: np.random.Generator, first: int = 6) -> np.ndarray:
    (x,) = model.graph.inputs
    assert x.shape is not None
    shape = [size if isinstance(size, int) else first for size in x.shape]
    return rng.standard_normal(shape).astype(np.float32)


def check(model: ir.Model, expected: dict[str, int]) -> None:
    """The pass leaves these native nodes, and with the kernels and without them the outputs that there were."""
    x = inputs_of(model, np.random.default_rng(1))
    before = run(model, x)
    links = sum(node.outputs[0].name != "y" for node in model.graph if node.domain == kernels.DOMAIN)
    assert passes.get("binary-chains")(model) == links
    assert native_nodes(model) == expected
    assert [
        n.op_type
        for n in model.graph
        if n.domain != kernels.DOMAIN and n.op_type not in {"Reshape", "Transpose", "Flatten"}
    ] == []
    assert passes.get("binary-chains")(model) == 0
    passes.get("shapes")(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    for native in (True, False):
        for was, now in zip(before, run(model, x, native=native), strict=True):
            np.testing.assert_array_equal(now, was) if native else np.testing.assert_allclose(
                now, was, rtol=1e-5, atol=1e-5
            )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_linear_layers_are_joined(between: str, seed: int, library) -> None:  # noqa: F811
    check(model_of(LINEAR, between, seed=seed), {"BinLinearPack": 1, "BinLinearUnpack": 1})


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_convolutions_are_joined(between: str, seed: int, library) -> None:  # noqa: F811
    check(model_of(CONV, between, seed=seed), {"BinConvPack": 1, "BinConvUnpack": 1})


SHAPED = [
    "b = Reshape(c, two)",
    "d = Reshape(c, three) b = Reshape(d, two)",
    "b = Flatten(c)",
    "d = Reshape(c, three) e = Transpose <perm = [1, 0, 2]> (d) b = Reshape(e, two)",
]


@pytest.mark.parametrize("shaped", SHAPED)
def test_rows_may_move(shaped: str, library) -> None:  # noqa: F811
    model = model_of(LINEAR, NORM.replace("b =", "c =") + " " + shaped)
    check(model, {"BinLinearPack": 1, "BinLinearUnpack": 1})


FLAT = """
<ir_version: 8, opset_import: ["" : 18, "edgepack" : 1]>
g (float[B, 13, 4, 3] x) => (float[B, 9] y) {
    a = edgepack.BinConv <K = 13, group = 1, strides = [1, 1], dilations = [1, 1], pads = [1, 1, 1, 1]>
        (x, w1, alpha1, bias1, shift1)
    c = BatchNormalization <epsilon = 0.001> (a, g, o, m, v)
    d = Flatten(c)
    b = Clip(d, minus, plus)
    y = edgepack.BinLinear <K = 480> (b, w2, alpha2, bias2, shift2)
}
"""


def flat(shift: np.ndarray) -> ir.Model:
    rng = np.random.default_rng(4)
    along = [rng.standard_normal(40).astype(np.float32) for _ in range(5)]
    changes = {
        "w1": np.packbits(rng.integers(0, 2, (40, 3, 3, 13)), axis=-1, bitorder="little"),
        "w2": np.packbits(rng.integers(0, 2, (9, 480)), axis=-1, bitorder="little"),
        "alpha1": along[0], "bias1": along[1], "g": along[2], "o": along[3], "m": along[4], "v": abs(along[0]) + 1,
        "shift2": shift,
    }  # fmt: skip
    return model_of(FLAT, "", changes=changes)


@pytest.mark.parametrize("shift", ["one", "channels"])
def test_an_image_becomes_a_row(shift: str, library) -> None:  # noqa: F811
    rng = np.random.default_rng(5)
    shifts = {"one": np.full(1, 0.3), "channels": np.repeat(rng.standard_normal(40), 12)}
    check(flat(shifts[shift].astype(np.float32)), {"BinConvPack": 1, "BinLinearUnpack": 1})


def test_a_shift_a_pixel_stays(library) -> None:  # noqa: F811
    model = flat(np.random.default_rng(6).standard_normal(480).astype(np.float32))
    assert "its shift differs from pixel to pixel" in reasons(model)


THIRD = """    n = BatchNormalization <epsilon = 0.1> (z, g3, o3, m3, v3)
    y = edgepack.BinLinear <K = 9> (n, w3, alpha2, bias2, shift3)
}
"""
THREE = LINEAR.replace("y = edgepack", "z = edgepack").replace("}\n", THIRD)


def test_a_longer_chain_never_leaves_bits(library) -> None:  # noqa: F811
    rng = np.random.default_rng(7)
    changes: dict[str, np.ndarray] = {
        name: rng.standard_normal(9).astype(np.float32) for name in ("g3", "o3", "m3")
    }
    changes |= {"v3": np.ones(9, np.float32), "shift3": np.zeros(1, np.float32)}
    changes["w3"] = np.packbits(rng.integers(0, 2, (9, 9)), axis=-1, bitorder="little")
    model = model_of(THREE, NORM, changes=changes)
    check(model, {"BinLinearPack": 1, "BinLinearBits": 1, "BinLinearUnpack": 1})


def reasons(model: ir.Model) -> str:
    """Why nothing was done, which must have been left as it was."""
    before = ir.to_proto(model).SerializeToString()
    decisions = chained(model)
    assert all(decision.reason for decision in decisions)
    assert ir.to_proto(model).SerializeToString() == before
    assert passes.get("binary-chains")(model) == 0
    return "; ".join(decision.reason or "" for decision in decisions)


@pytest.mark.parametrize(
    ("between", "says"),
    [
        ("c = Add(a, o) d = Neg(a) e = Relu(c) b = Softmax(e)", "Softmax '' stands between"),
        ("c = Abs(a) d = Sub(c, three_five) e = Abs(d) b = Sub(e, one)", "the sign changes"),
        ("s = Shape(a) t = Identity(s) b = Reshape(a, t)", "Shape '' stands between"),
        (
            "c = Transpose <perm = [1, 0]> (a) b = Transpose <perm = [1, 0]> (c)",
            "does not keep rows together",
        ),
        ("b = Mul(a, matrix)", "'matrix' of Mul '' is not one number a channel"),
        ("c = ReduceMean <keepdims = 1> (a) b = Sub(a, c)", "ReduceMean '' stands between"),
    ],
)
def test_what_is_not_a_sign_of_a_sum_stays(between: str, says: str, library) -> None:  # noqa: F811
    changes = {"three_five": np.float32(20.5), "one": np.float32(9), "matrix": np.ones((6, 44), np.float32)}
    model = model_of(LINEAR, between, changes=changes)
    assert says in reasons(model)


def test_a_value_with_another_reader_stays(library) -> None:  # noqa: F811
    text = LINEAR.replace("(float[M, 9] y)", "(float[M, 9] y, float[M, 44] z)").replace(
        "}\n", "z = Relu(a) }\n"
    )
    assert "'a' is read by Relu '' as well" in reasons(model_of(text, NORM))
    text = LINEAR.replace("(float[M, 9] y)", "(float[M, 9] y, float[M, 44] b)")
    assert "'b' is an output of the graph" in reasons(model_of(text, NORM))


def test_the_first_layer_says_why_it_reads_floats(library) -> None:  # noqa: F811
    model = model_of(LINEAR, NORM)
    first, second = chained(model)
    assert first.reason == "it reads 'x', an input of the graph"
    assert second.reason is None


def test_other_models_are_left_alone() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[1] x) => (float[1] y) { y = Neg(x) }'
    )
    assert passes.get("binary-chains")(model) == 0
