"""The networks that onnx ships, in float and quantized: a strict table of what the converter makes of them.

A network that is new in onnx, converts where the table says that it does not, or computes with integers what the table
has in float, fails here until the table says so.
"""

import functools
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgepack.targets.mobile._tflite.convert import convert
from tests.targets.mobile.tflite import harness, pieces, quantize
from tests.targets.mobile.tflite.test_quantized_models import as_it_runs, near

LIGHT = {
    path.stem.removeprefix("light_"): path
    for path in sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))
}
UNEVEN = "AveragePool: its windows hold different numbers of elements"
FINE = "Softmax: its result has a finer scale than TFLite's kernel can give"
TABLE: dict[str, tuple[set[str], set[str]]] = {
    # name: operators that compute in float when the network is quantized, and why where they have an integer form
    "bvlc_alexnet": ({"LOCAL_RESPONSE_NORMALIZATION"}, set()),
    "densenet121": (set(), set()),
    "inception_v1": ({"LOCAL_RESPONSE_NORMALIZATION", "PAD", "AVERAGE_POOL_2D", "MUL"}, {UNEVEN}),
    "inception_v2": ({"SOFTMAX"}, {FINE}),
    "resnet50": (set(), set()),
    "shufflenet": ({"PAD", "AVERAGE_POOL_2D", "MUL", "CONCATENATION", "RELU"}, {UNEVEN}),
    "squeezenet": (set(), set()),
    "vgg19": (set(), set()),
    "zfnet512": ({"LOCAL_RESPONSE_NORMALIZATION", "SOFTMAX"}, {FINE}),
}
LARGE = {"bvlc_alexnet", "vgg19", "zfnet512"}
"""Up to half a gigabyte of weights each: `tests/benchmarks/test_tflite.py` has their numerics."""


def with_weights(name):
    """A network with weights of its own, which are all alike in these files, and something to give it."""
    rng, model = np.random.default_rng(0), onnx.load(LIGHT[name])
    shapes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = {node.output[0]: node for node in model.graph.node if node.op_type == "ConstantOfShape"}
    variances = {node.input[4] for node in model.graph.node if node.op_type == "BatchNormalization"}
    used = {name for node in model.graph.node for name in node.input}
    # Inception v1 keeps a matrix [1000, 1024] as [1, 1, 1000, 1024].
    meant = {
        n.input[0]: shapes[n.input[1]]
        for n in model.graph.node
        if n.op_type == "Reshape" and n.input[1] in shapes
    }
    for made, node in weights.items():
        if made in used:
            size = shapes[node.input[0]]
            array = _weight(rng, meant.get(made, size).tolist(), positive=made in variances).reshape(size)
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, made))
    kept = [node for node in model.graph.node if node.op_type != "ConstantOfShape"]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    (image,) = (value for value in model.graph.input if value.name not in shapes)
    del model.graph.input[:]
    model.graph.input.append(image)
    model.ir_version = 10
    shape = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    return model, {image.name: rng.standard_normal(shape).astype(np.float32)}


def _weight(rng, shape, *, positive):
    if positive:
        return rng.uniform(0.5, 2.0, shape).astype(np.float32)
    array = rng.standard_normal(shape, np.float32)
    return (
        array * np.float32(0.5) + np.float32(0.5)
        if len(shape) == 1
        else array * np.sqrt(np.float32(2 / np.prod(shape[1:])))
    )


@functools.cache
def current(name):
    """As `with_weights`, in operator set 21, which has integers of 16 bits."""
    model, feeds = with_weights(name)
    return onnx.version_converter.convert_version(model, harness.OPSET), feeds


def check_float(model, feeds, folder):
    """The float file against ONNX Runtime, and what it was made of."""
    (want,) = harness.expected(model, feeds)
    conversion = harness.converted(model, folder / "model.tflite")
    (got,) = harness.run(folder / "model.tflite", feeds, [model.graph.output[0].name])
    assert want.std() > 0
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5 * float(np.abs(want).max()))
    return conversion


def check_quantized(name, model, feeds, folder):
    """The int8 file against ONNX Runtime, as the graph is written and with its own integer kernels.

    The output, and what goes into the last softmax, are within one step of their scales on 99 % of the elements of
    either: the graph as written adds up tens of thousands of products in float32, integer kernels exactly.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    logits = [node.input[0] for node in watched.graph.node if node.op_type == "Softmax"]
    watched.graph.output.extend(
        info for info in onnx.shape_inference.infer_shapes(watched).graph.value_info if info.name in logits
    )
    made, steps = quantize.quantized(watched, feeds, "int8")
    conversion = harness.converted(made, folder / "model.tflite")
    names = [value.name for value in made.graph.output]
    want, other = harness.expected(made, feeds), as_it_runs(made, feeds)
    got = harness.run(folder / "model.tflite", feeds, names)
    assert all(each.std() > 0 for each in want)
    for at, output in enumerate(names):
        assert max(near(got[at], right[at], steps[output]) for right in (want, other)) >= 0.99, output
    in_float, reasons = TABLE[name]
    assert set(harness.computes_in_float(folder / "model.tflite")) == in_float
    assert set(conversion.in_float) == reasons


def test_the_table_names_every_network():
    assert set(TABLE) == set(LIGHT)


@pytest.mark.parametrize("name", sorted(set(LIGHT) - LARGE))
def test_in_float(name, tmp_path):
    model, feeds = with_weights(name)  # of operator set 9, as it is shipped
    conversion = check_float(model, feeds, tmp_path)
    # The shuffles of ShuffleNet, and nothing that a layout needs.
    assert conversion.operators.get("TRANSPOSE", 0) == sum(n.op_type == "Transpose" for n in model.graph.node)


@pytest.mark.parametrize("name", sorted(set(LIGHT) - LARGE))
def test_quantized(name, tmp_path):
    model, feeds = current(name)
    check_quantized(name, model, feeds, tmp_path)


@pytest.mark.parametrize("name", ["inception_v1", "shufflenet"])
def test_every_operator_by_itself(name, tmp_path):
    """On the integers that ONNX Runtime has in front of it, an operator rounds as it does, and nothing by two steps."""
    model, feeds = current(name)
    made, _ = quantize.quantized(model, feeds, "int8")
    parted, given, wanted = pieces.apart(made, feeds)
    harness.converted(parted, tmp_path / "pieces.tflite")
    got = harness.run(tmp_path / "pieces.tflite", given, list(wanted))
    for result, (output, right) in zip(got, wanted.items(), strict=True):
        apart = np.abs(result.astype(np.int32) - right.astype(np.int32))
        assert apart.max() <= 1, output
        assert (apart > 0).mean() < 1e-3, output


@pytest.mark.parametrize("name", sorted(LARGE & set(LIGHT)))
def test_large_ones_convert_as_they_are(name, tmp_path):
    conversion = convert(ir.load(LIGHT[name]), tmp_path / "model.tflite")
    expected = onnx.load(LIGHT[name]).graph.node
    assert conversion.operators["CONV_2D"] == sum(node.op_type == "Conv" for node in expected)
    assert (tmp_path / "model.tflite").stat().st_size > 4 * 50_000_000
