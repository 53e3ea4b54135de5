"""Every layer in a form of its own: what changes, what stays, what is refused."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.quantize._onnx_mixed_noise import counted_bytes, noises
from edgepack.quantize._onnx_mixed_static import affine
from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.quantize.onnx_mixed import FORMS, Mixer
from edgepack.toolchain.errors import TargetError, UnknownNameError, UsageError
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.results import Calibration


@pytest.fixture(scope="module")
def mixer(encoder) -> Mixer:
    return Mixer(encoder.lowered, encoder.data)


def everywhere(mixer: Mixer, form: str, kind: str = "product") -> dict[str, str]:
    return {name: form for group in mixer.groups if group.kind == kind for name in group.nodes}


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in ir.load(path).graph)


def test_groups_of_a_sentence_encoder(mixer):
    kinds = Counter(group.kind for group in mixer.groups)
    assert kinds == {"product": 24, "lookup": 1}
    query_key_value = [group for group in mixer.groups if len(group.nodes) == 3]
    assert len(query_key_value) == 6, "query, key and value read the same tensor"
    assert {shape for group in query_key_value for shape in group.shapes} == {(384, 384)}
    assert len({group.name for group in mixer.groups}) == 25
    assert [group.name[:3] for group in mixer.groups] == [f"{i:03d}" for i in range(25)]


def test_all_dynamic_is_what_the_dynamic_quantizer_makes(encoder, mixer, tmp_path):
    assign = everywhere(mixer, "int8-dynamic") | everywhere(mixer, "int8-dynamic", "lookup")
    mixed = mixer.build(assign, tmp_path / "mixed")
    plain = quantizers.get("onnx-dynamic")().quantize(
        encoder.lowered, "int8-dynamic", encoder.data, tmp_path / "plain"
    )
    assert operators(mixed.path) == operators(plain.path)
    assert encoder.cosine(mixed) == encoder.cosine(plain)
    assert mixed.changed_nodes == plain.changed_nodes == 37
    assert mixed.precision == "mixed"


def test_static_rounds_a_branch_and_keeps_more_than_pairs_for_everybody(encoder, mixer, tmp_path):
    mixed = mixer.build(everywhere(mixer, "int8-static"), tmp_path / "mixed")
    graph = ir.load(mixed.path).graph
    for node in graph:
        if node.op_type == "DequantizeLinear" and node.inputs[0].producer() is not None:
            users = {user.op_type for user in node.outputs[0].consumers()}
            assert users == {"MatMul"}, "sums and normalizations see what was not rounded"
    assert operators(mixed.path)["QuantizeLinear"] == 24, "one for every input, shared by its products"
    assert encoder.cosine(mixed) > 0.998
    assert encoder.size(mixed) < 0.65, "the embedding table stays float, everything else is int8"


@pytest.mark.slow  # GPTQ solves every product
def test_each_form_where_it_was_assigned(encoder, mixer, tmp_path):
    assign: dict[str, str] = {}
    products = [group for group in mixer.groups if group.kind == "product"]
    chosen = [FORMS[index % len(FORMS)] for index in range(len(products))]
    for group, form in zip(products, chosen, strict=True):
        assign |= dict.fromkeys(group.nodes, form)
    assign |= everywhere(mixer, "int4-weights", "lookup")
    made = mixer.build(assign, tmp_path)
    counts = Counter(form for group, form in zip(products, chosen, strict=True) for _ in group.nodes)
    found = operators(made.path)
    assert found["MatMulInteger"] == counts["int8-dynamic"]
    assert found["MatMulNBits"] == counts["int8-weights"] + counts["int4-weights"]
    assert found["GatherBlockQuantized"] == 1
    assert found["QuantizeLinear"] == chosen.count("int8-static")
    assert made.changed_nodes == 37 - counts["fp32"]
    told = {
        form: int(n) for n, form in re.findall(r"(\d+) products? ([\w-]+)", made.notes[-1])
    }  # fmt: skip
    assert told == counts
    assert "1 lookup int4-weights" in made.notes[-1]
    assert encoder.cosine(made) > 0.98


@pytest.mark.slow  # GPTQ solves every product
def test_one_group_may_be_split(encoder, mixer, tmp_path):
    group = next(group for group in mixer.groups if len(group.nodes) == 3)
    forms = ("int8-dynamic", "int8-static", "int4-weights")
    made = mixer.build(dict(zip(group.nodes, forms, strict=True)), tmp_path)
    found = operators(made.path)
    assert (found["MatMulInteger"], found["QuantizeLinear"], found["MatMulNBits"]) == (1, 1, 1)
    assert encoder.cosine(made) > 0.995


@pytest.mark.slow  # GPTQ solves every product
def test_twice_the_same(mixer, tmp_path):
    assign = everywhere(mixer, "int8-static") | everywhere(mixer, "int4-weights", "lookup")
    for name in ("a", "b"):
        mixer.build(assign, tmp_path / name)
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert a == b


def test_refusals(encoder, mixer, tmp_path):
    node = mixer.groups[1].nodes[0]
    table = mixer.groups[0].nodes[0]
    with pytest.raises(UnknownNameError, match=r"encoder\.layer\.0\.attention\.self\.query"):
        mixer.build({f"{node}x": "int8-dynamic"}, tmp_path)
    with pytest.raises(UnknownNameError, match=r"(?s)int9.*int8-"):
        mixer.build({node: "int9"}, tmp_path)
    with pytest.raises(UsageError, match=r"lookup, cannot be int8-static.*int8-weights"):
        mixer.build({table: "int8-static"}, tmp_path)
    with pytest.raises(TargetError, match="every node in fp32"):
        mixer.build({node: "fp32"}, tmp_path)
    quantize = quantizers.get("onnx-mixed")().quantize
    with pytest.raises(UsageError, match="needs calibration data"):
        quantize(encoder.lowered, "mixed", None, tmp_path, assign={node: "int8-static"})
    made = mixer.build({node: "int8-dynamic"}, tmp_path)
    with pytest.raises(TargetError, match="quantized already"):
        quantize(made, "mixed", encoder.data, tmp_path / "again", assign={node: "int8-dynamic"})
    kept = quantize(encoder.lowered, "mixed", encoder.data, tmp_path / "kept")
    assert kept.changed_nodes == 0
    assert "stays in fp32" in kept.notes[-1]


def test_without_data_and_with_noise_alone(encoder, mixer, tmp_path):
    assign = everywhere(mixer, "int8-dynamic") | everywhere(mixer, "int4-weights", "lookup")
    bare = Mixer(encoder.lowered, None)
    assert bare.facts.factors == {}
    noise = Calibration(kind="synthetic", description="", samples=2, held_out=2)
    data = CalibrationData(noise, encoder.data.samples[:2], encoder.data.held_out[:2], "noise")
    assert Mixer(encoder.lowered, data).facts.factors == {}, "noise says nothing of outliers"
    assert mixer.facts.factors
    assert encoder.cosine(bare.build(assign, tmp_path)) > 0.97


def test_noise_and_bytes_of_forms(encoder, mixer, tmp_path):
    noise = noises(mixer)
    for group in mixer.groups:
        assert noise[group.name, "int4-weights"] > 5 * noise[group.name, "int8-weights"] > 0
    for form in ("int8-dynamic", "int4-weights"):
        made = mixer.build(everywhere(mixer, form), tmp_path / form)
        products = [group for group in mixer.groups if group.kind == "product"]
        counted = sum(counted_bytes(g, "fp32") - counted_bytes(g, form) for g in products)
        before, after = (
            sum(f.stat().st_size for f in one.path.parent.glob(f"{one.path.name}*"))
            for one in (encoder.lowered, made)
        )
        assert before - after == pytest.approx(counted, rel=0.02)


def test_affine():
    for low, high in ((-1.0, 3.0), (0.5, 2.0), (-2.0, -1.0), (0.0, 0.0)):
        for signed in (False, True):
            scale, zero = affine(low, high, signed=signed)
            bottom = -128 if signed else 0
            assert zero.dtype == (np.int8 if signed else np.uint8)
            lowest, highest = (float(scale) * (level - int(zero)) for level in (bottom, bottom + 255))
            assert lowest <= min(low, 0) + float(scale) / 2
            assert highest >= max(high, 0) - float(scale) / 2
            assert float(scale) * (int(zero) - int(zero)) == 0.0


def convolutional(folder: Path) -> Lowered:
    """Two branches of convolutions from one tensor, added; then a pointwise one, and a product."""
    rng = np.random.default_rng(0)
    shapes = {"w0": (16, 3, 3, 3), "w1": (16, 16, 3, 3), "w2": (16, 16, 1, 1), "w3": (80, 16, 1, 1)}
    weights = {name: rng.normal(0, 0.15, shape) for name, shape in shapes.items()}
    weights |= {f"b{i}": rng.normal(0, 0.1, shape[0]) for i, shape in enumerate(shapes.values())}
    weights["w4"] = rng.normal(0, 0.1, (80, 64))
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], name="c0", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"], name="r0"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], name="c1", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["r0", "w2", "b2"], ["c2"], name="c2"),
        helper.make_node("Add", ["c1", "c2"], ["sum"], name="sum"),
        helper.make_node("Relu", ["sum"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", "w3", "b3"], ["c3"], name="c3"),
        helper.make_node("GlobalAveragePool", ["c3"], ["pool"], name="pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], name="flat"),
        helper.make_node("MatMul", ["flat", "w4"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, folder / "main.onnx")
    signature = Signature(
        (TensorSpec("x", "float32", ("n", 3, 12, 12)),), (TensorSpec("y", "float32", ("n", 64)),)
    )
    return Lowered("main", "onnx", folder / "main.onnx", signature)


def test_convolutions(tmp_path):
    lowered = convolutional(tmp_path)
    rng = np.random.default_rng(1)
    samples = [{"x": rng.normal(size=(1, 3, 12, 12)).astype(np.float32)} for _ in range(24)]
    facts = Calibration(kind="user", description="", samples=16, held_out=8)
    mixer = Mixer(lowered, CalibrationData(facts, samples[:16], samples[16:], "rng"))
    assert [(group.kind, group.nodes) for group in mixer.groups] == [
        ("convolution", ("c0",)),
        ("convolution", ("c1",)),
        ("convolution", ("c2",)),
        ("convolution", ("c3",)),
        ("product", ("MatMul:9",)),
    ]
    with pytest.raises(UsageError, match=r"convolution, cannot be int8-dynamic.*int8-static"):
        mixer.build({"c1": "int8-dynamic"}, tmp_path / "no")

    def outputs(path):
        session = onnxruntime.InferenceSession(path)
        return np.concatenate([session.run(None, sample)[0] for sample in samples[16:]])

    reference = outputs(lowered.path)
    everything = {"c1": "int8-static", "c2": "int8-static", "c3": "int8-static", "MatMul:9": "int8-static"}
    made = mixer.build(everything, tmp_path / "all")
    got = outputs(made.path)
    assert float((reference * got).sum() / np.linalg.norm(reference) / np.linalg.norm(got)) > 0.99
    graph = ir.load(made.path).graph
    pairs = {node for node in graph if node.op_type == "DequantizeLinear"}
    rounded = {
        node.name: any(value is not None and value.producer() in pairs for value in node.inputs)
        for node in graph
    }
    assert rounded["sum"], "what lies between static convolutions joins in"
    assert rounded["pool"]
    assert not rounded["c0"]

    one = mixer.build({"c1": "int8-static"}, tmp_path / "one")
    graph = ir.load(one.path).graph
    c2 = next(node for node in graph if node.name == "c2")
    assert c2.inputs[0].producer().op_type == "Relu", "the other branch reads what was not rounded"
    assert "1 convolution int8-static" in one.notes[-1]
    noise = noises(mixer)
    assert noise["001 convolution 16x16x3x3", "int8-static"] > 0
