"""Every operator that edgepack translates for ncnn itself, beside ONNX Runtime; and those that it refuses."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgepack.targets.mobile._ncnn.network import write
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.vendors import ncnn

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ncnn") is None, reason="the extra ncnn is not installed"
)
RANDOM = np.random.default_rng(0)


class Case(NamedTuple):
    """One graph: its inputs' types and its nodes; every value whose name begins with y is an output."""

    inputs: str
    body: str
    opset: int = 20


CASES = {
    "arithmetic": Case(
        "float[2, 3] a, float[3] b, float[1, 2, 1] c",
        """y0 = Add(a, b)  y1 = Sub(c, a)  y2 = Mul(b, c)  d = Abs(b)  y3 = Max(a, b, c)  y4 = Min(a, b)
           y5 = Sqrt(d)  y6 = Sigmoid(a)  y7 = Gelu(a)  y8 = Gelu<approximate = "tanh">(a)  y9 = Erf(a)
           ya = LeakyRelu<alpha = 0.2>(a)  yb = Elu(a)  yc = HardSigmoid(a)  yd = HardSwish(a)  ye = Softplus(a)
           yf = PRelu(a, d)  low = Constant<value_float = -0.5>()  yg = Clip(a, low)  yh = Sign(a)  yi = Neg(a)
           two = Constant<value_float = 2.0>()  yj = Pow(a, two)  three = Constant<value_float = 3.0>()
           yk = Pow(a, three)  part = Constant<value_float = 0.7>()  yl = Pow(d, part)  ym = Div(a, three)""",
    ),
    "masks": Case(
        "float[2, 3] a, float[2, 3] b, int64[2, 3] i, int64[3] j",
        """y0 = Greater(a, b)  y1 = Less(i, j)  y2 = GreaterOrEqual(i, j)  y3 = LessOrEqual(a, b)
           y4 = Equal(i, j)  same = Equal(a, a)  y5 = Not(y4)  y6 = And(y0, y1)  y7 = Or(y0, y1)  y8 = Xor(y0, y1)
           never = Constant<value_float = -inf>()  masked = Where(y2, a, never)
           y9 = Softmax(masked)  ya = Where(y0, a, b)  yb = Cast<to = 9>(i)  yc = Cast<to = 7>(a)  ten =
           Constant<value_float = 10.0>()  big = Mul(a, ten)  yd = Cast<to = 7>(big)  number = Cast<to = 1>(y4)
           ye = Mul(number, a)  seven = Constant<value_int = 7>()  two = Constant<value_int = 2>()
           more = Mul(i, seven)  yf = Div(more, two)  yg = Identity(same)""",
    ),
    "moves": Case(
        "float[2, 3, 4, 5] a, float[4, 3, 2, 2] b",
        """one = Constant<value_ints = [1]>()  long = Constant<value_ints = [1, 2, 2, 3, 2, 2]>()
           six = Reshape(b, long)  flat = Constant<value_ints = [-1]>()
           y0 = Transpose<perm = [0, 3, 1, 2]>(a)  y1 = Transpose<perm = [3, 2, 1, 0]>(a)
           moved = Transpose<perm = [0, 4, 2, 5, 1, 3]>(six)  y2 = Reshape(moved, flat)
           five = Constant<value_ints = [2, 3, 2, 2, 5]>()  r = Reshape(a, five)
           t = Transpose<perm = [3, 1, 4, 0, 2]>(r)  y3 = Reshape(t, flat)
           s = Constant<value_ints = [1, -1]>()  e = Constant<value_ints = [4, -9]>()
           x = Constant<value_ints = [3, 2]>()  p = Constant<value_ints = [2, -2]>()  y4 = Slice(a, s, e, x, p)
           y5, y6 = Split<axis = 2, num_outputs = 2>(a)  y7 = Concat<axis = 2>(y6, a, y5)
           n = Constant<value_ints = [0, 1, -1, 2, 0, 2, 1, 1]>()  y8 = Pad(a, n)  y9 = Pad<mode = "edge">(a, n)
           m = Constant<value_ints = [0, 0, 1, 2, 0, 0, 2, 1]>()  ya = Pad<mode = "reflect">(a, m)
           c = Constant<value_ints = [2, 1, 3, 1]>()  yb = Tile(a, c)
           o = Constant<value_ints = [0]>()  yc = Slice(a, o, one)  large = Constant<value_ints = [2, 3, 4, 5]>()
           yd = Expand(yc, large)  wide = Constant<value_ints = [1, 12, 2, 5]>()  block = Reshape(a, wide)
           ye = DepthToSpace<blocksize = 2>(block)  yf = DepthToSpace<blocksize = 2, mode = "CRD">(block)
           half = Constant<value_float = 0.5>()  g = Sub(six, half)  yg = Reshape(g, flat)""",
    ),
    "lookups": Case(
        "int64[2, 3] i, float[2, 5, 4] a, float[2, 3] b, float[2, 2, 4] u, int64[2] at",
        """table = Constant<value = float[4, 2] {0.1, 1.2, 2.3, 3.4, 4.5, 5.6, 6.7, 7.8}>()
           y0 = Gather(table, i)  one = Constant<value_int = 1>()  k = Add(i, one)  y1 = Gather(table, k)
           number = Cast<to = 1>(i)  y2 = Mul(number, b)  flat = Constant<value_ints = [6]>()  f = Reshape(i, flat)
           y3 = Gather<axis = 1>(a, f)  places = Constant<value_ints = [3, 0, -1]>()
           y4 = Gather<axis = 1>(a, places)  y5 = Gather<axis = 2>(a, one)  last = Constant<value_ints = [2]>()
           nd = Unsqueeze(i, last)  y6 = GatherND(table, nd)  y7 = GatherElements<axis = 1>(b, i)
           form = Constant<value_ints = [1, 2, 1]>()  column = Reshape(at, form)
           full = Constant<value_ints = [2, 2, 4]>()  where = Expand(column, full)
           y8 = ScatterElements<axis = 1>(a, where, u)  three = Constant<value_ints = [3]>()
           y9, ya = TopK(a, three)  yb, yc = TopK<axis = 1, largest = 0>(a, three)
           yd = ArgMax<axis = 1>(a)  ye = ArgMin<axis = -1, keepdims = 0>(a)  tied = Floor(b)
           two = Constant<value_ints = [2]>()  yf, yg = TopK(tied, two)  j = Concat<axis = 0>(f, two)
           yh = Gather(table, j)""",
    ),
    "scatter": Case(
        "float[1, 2, 4, 3] cache, float[1, 2, 2, 3] new",
        """row = Constant<value = int64[1, 1, 2, 1] {1, 2}>()  full = Constant<value_ints = [1, 2, 2, 3]>()
           where = Expand(row, full)  y0 = ScatterElements<axis = 2>(cache, where, new)
           far = Constant<value = int64[1, 1, 2, 1] {3, 0}>()  other = Expand(far, full)
           y1 = ScatterElements<axis = 2>(cache, other, new)""",
    ),
    "matrices": Case(
        "float[2, 3, 4, 5] a, float[3, 5, 2] b, float[4, 6] c, float[6, 5] d, float[1, 6] v, float[4] w",
        """at = Constant<value_ints = [0]>()  one_axis = Constant<value_int = 1>()
           row = Constant<value_floats = [1.0, -1.0, 2.0, 0.5, 0.0, 3.0]>()
           y0 = MatMul(a, b)  y1 = MatMul(c, d)  one = Constant<value = float[6, 2]
           {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 1.5, 2.5, 3.5}>()  y2 = MatMul(c, one)  y3 = MatMul(v, one)
           y4 = Gemm<alpha = 0.5, beta = 2.0, transA = 1, transB = 1>(d, c, w)
           bias = Constant<value = float[2] {0.25, -0.5}>()  y5 = Gemm(c, one, bias)  y6 = Gemm(v, one, bias)
           y7 = Softmax<axis = 1>(a)  y8 = LogSoftmax(c)  y9 = ReduceMean(a)
           axes = Constant<value_ints = [1, -1]>()  ya = ReduceSum(a, axes)  mid = Constant<value_ints = [2]>()
           yb = ReduceMax<keepdims = 0>(a, mid)  yc = ReduceL2<keepdims = 0>(a, mid)  yd = ReduceMin(c, at)
           ye = CumSum(c, one_axis)  yf = CumSum<exclusive = 1, reverse = 1>(c, one_axis)
           yg = MatMul(w, c)  yh = MatMul(c, row)""",
    ),
    "pictures": Case(
        "float[1, 4, 8, 6] a, float[2, 4, 8, 6] two, float[1, 4, 9] line, float[1, 2, 4, 5, 6] film",
        """y0 = Conv<pads = [1, 2, 0, 1], strides = [2, 1]>(a, k, b)  y1 = Conv<group = 2>(two, g)
           y2 = Conv<dilations = [2], pads = [2, 0]>(line, l)  y3 = Conv<pads = [1, 1, 1, 1, 1, 1]>(film, f)
           y4 = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(a, k)  r = Relu(y0)  y5 = Identity(r)
           c = Conv(a, k, b)  y6 = Relu(c)
           y7 = ConvTranspose<strides = [2, 2], pads = [1, 0, 0, 1], output_padding = [1, 0]>(a, d)
           y8 = ConvTranspose<group = 2>(a, e)  y9 = MaxPool<kernel_shape = [3, 2], pads = [1, 0, 1, 1]>(a)
           ya = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(two)
           yb = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1, strides = [2, 2]>(a)
           yc = MaxPool<kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1>(a)
           yd = GlobalAveragePool(two)  ye = AveragePool<kernel_shape = [3]>(line)  size = Constant<value_floats =
           [1.0, 1.0, 2.0, 2.0]>()  yf = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric",
           nearest_mode = "floor">(a, , size)  yg = Resize<mode = "linear">(a, , size)
           yh = InstanceNormalization(two, s, s)  yi = BatchNormalization(two, s, s, s, v)
           yj = LayerNormalization<axis = -1>(a, n, n)  yk = LayerNormalization<axis = -1>(a, n)""",
    ),
}
WEIGHTS = {
    "k": (3, 4, 3, 2),
    "b": (3,),
    "g": (6, 2, 3, 3),
    "l": (5, 4, 3),
    "f": (3, 2, 3, 3, 3),
    "d": (4, 3, 3, 3),
    "e": (4, 2, 3, 3),
    "s": (4,),
    "v": (4,),
    "n": (6,),
}


def built(case: Case, weights: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """The case as a model, whose shapes are all inferred."""
    text = " ".join(case.body.split()).replace(")  ", ")\n").replace(") ", ")\n")
    proto = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : {case.opset}]> g ({case.inputs}) => () {{{text}}}'
    )
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(
            (np.abs(RANDOM.standard_normal(shape)) if name == "v" else RANDOM.standard_normal(shape)).astype(
                "f4"
            ),
            name,
        )
        for name, shape in weights.items()
    )
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    values = {value.name: value for value in inferred.graph.value_info}
    names = [name for node in inferred.graph.node for name in node.output if name.startswith("y")]
    inferred.graph.output.extend(values[name] for name in names)
    return inferred


def lift(proto: onnx.ModelProto) -> ir.Model:
    """As targets get graphs: constants are initializers, and names do not stand for sizes."""
    from edgepack.toolchain.passes.clean_up import clean_up

    model = ir.from_proto(proto)
    clean_up(model)
    return model


@pytest.mark.parametrize("name", CASES)
def test_computes_what_onnx_runtime_computes(name: str, tmp_path: Path) -> None:
    proto = built(CASES[name], WEIGHTS if name == "pictures" else {})
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    write(lift(proto).graph, "main", (0, 0), tmp_path / "main.param")
    net, blobs = ncnn.open_net(tmp_path / "main.param", 1), ncnn.Blobs.of(tmp_path / "main.param")
    for _ in range(2):
        given: dict[str, np.ndarray] = {
            value.name: RANDOM.permutation(3)[: value.shape[-1]] * np.ones(value.shape, np.int64)
            if value.type == "tensor(int64)"
            else RANDOM.standard_normal(value.shape).astype(np.float32)
            for value in session.get_inputs()
        }
        names = [value.name for value in session.get_outputs()]
        want = dict(zip(names, session.run(names, given), strict=True))
        got = ncnn.call(net, blobs, given)
        for key, value in want.items():
            assert got[key].shape == value.shape, key
            np.testing.assert_allclose(got[key], value, rtol=2e-4, atol=2e-5, err_msg=key)


def test_an_input_is_given_as_integers_and_as_numbers_where_both_are_read(tmp_path: Path) -> None:
    write(lift(built(CASES["lookups"], {})).graph, "main", (0, 0), tmp_path / "main.param")
    inputs = ncnn.Blobs.of(tmp_path / "main.param").inputs
    assert (inputs["i"].dtype, inputs["i"].twin is not None) == ("int32", True)
    assert (inputs["at"].dtype, inputs["at"].twin) == ("float32", None)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (Case("float[2, 3] a", "y = Hardmax(a)"), r"Hardmax \(y\) has no layer in ncnn"),
        (Case("float[1, 2, 5] a, float[3, 2, 3] w", "y = Conv(a, w)"), "has weights that are computed"),
        (
            Case("float[2, 3] a, int64[2, 3] i", "y = ScatterElements<axis = 1>(a, i, a)"),
            "writes to places that differ from row to row",
        ),
        (Case("float[1, 1, 1, 2, 3, 2] a", "y = Relu(a)"), "tensors of up to four axes"),
        (
            Case(
                "float[1, 1, 4, 4] a",
                "s = Constant<value_floats = [1.0, 1.0, 1.5, 1.5]>() y = Resize(a, , s)",
            ),
            r"goes by nearest elements \(half_pixel\) from 4 x 4 to 6 x 6",
        ),
    ],
)
def test_what_has_no_layer_is_named(case: Case, words: str, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=words):
        write(lift(built(case, {})).graph, "main", (0, 0), tmp_path / "main.param")
    assert list(tmp_path.iterdir()) == []
