"""Buckets: an open dimension built at several sizes, called as one, and refused where padding would show."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import edgepack
from edgepack.quantize.base import CalibrationData
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.pipeline import run
from edgepack.toolchain.pipeline.padding import padded
from edgepack.toolchain.program import Signature, TensorSpec
from edgepack.toolchain.recipe import make
from edgepack.toolchain.results import Calibration
from edgepack.toolchain.whole import Variant, Whole

WIDTH = 8
BUCKETS = {"tokens": [8, 4, 16]}


def encoder(path, *, mask):
    """Attention over tokens, then each token's vector and their mean; with an integer, a float or no mask."""
    rng = np.random.default_rng(3)
    table = rng.standard_normal((32, WIDTH)).astype(np.float32)
    constants = {
        "table": table,
        "far": np.float32(-1e4),
        "one": np.float32(1),
        "key_axis": np.array([1]),
    }
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "tokens"])
    kind = TensorProto.FLOAT if mask == "float" else TensorProto.INT64
    masks = [] if mask is None else [helper.make_tensor_value_info("mask", kind, ["batch", "tokens"])]
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("Transpose", ["x"], ["xt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "xt"], ["scores"]),
    ]
    if mask is None:
        nodes += [helper.make_node("Identity", ["scores"], ["masked"])]
    else:
        if mask == "int":
            nodes += [
                helper.make_node("Cast", ["mask"], ["keep"], to=TensorProto.FLOAT),
                helper.make_node("Sub", ["one", "keep"], ["gone"]),
                helper.make_node("Mul", ["gone", "far"], ["bias"]),
            ]
        else:
            nodes += [helper.make_node("Identity", ["mask"], ["bias"])]
        nodes += [
            helper.make_node("Unsqueeze", ["bias", "key_axis"], ["row"]),
            helper.make_node("Add", ["scores", "row"], ["masked"]),
        ]
    nodes += [
        helper.make_node("Softmax", ["masked"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "x"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [ids, *masks],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "tokens", WIDTH])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    save(model, path)
    return path


def feed(length, mask="int"):
    ids = np.random.default_rng(length).integers(1, 32, (1, length))
    if mask is None:
        return {"ids": ids}
    return {
        "ids": ids,
        "mask": np.ones((1, length), np.int64) if mask == "int" else np.zeros((1, length), np.float32),
    }


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("buckets")
    model = encoder(folder / "model.onnx", mask="int")
    recipe = make(
        model=str(model), targets=["mobile:litert", "cpu:onnxruntime"], precision="fp32", buckets=BUCKETS,
        out=str(folder / "out"), measure=False,
    )  # fmt: skip
    with Cache(folder / "cache") as cache:
        return run(recipe, cache=cache, jobs=1)


def test_every_bucket_is_an_artifact_of_the_same_bundle(bundle):
    names = [(artifact.target, artifact.part) for artifact in bundle.artifacts]
    assert names == [
        ("mobile:litert", "main-4"), ("mobile:litert", "main-8"), ("mobile:litert", "main-16"),
        ("cpu:onnxruntime", "main"),
    ]  # fmt: skip
    assert all(artifact.parity.passed for artifact in bundle.artifacts)
    (program,) = bundle.manifest.programs
    assert [way["sizes"] for way in program.whole["variants"]] == [
        {"tokens": 4},
        {"tokens": 8},
        {"tokens": 16},
    ]
    assert program.rollout.passed
    assert program.rollout.inputs_tried == 6
    assert "--buckets tokens=8,4,16" in bundle.manifest.command


@pytest.mark.parametrize("length", [1, 3, 4, 5, 16])
def test_any_length_gives_what_the_open_model_gives(bundle, length):
    with edgepack.open_program(bundle, "cpu:onnxruntime") as whole:
        expected = whole(feed(length))["y"]
    with edgepack.open_program(bundle.path, "mobile:litert") as whole:
        found = whole(feed(length))["y"]
        assert found.shape == (1, length, WIDTH)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_array_equal(whole.call("main", feed(length))["y"], found)


def test_what_is_too_long_or_does_not_fit_together_is_refused(bundle):
    with edgepack.open_program(bundle, "mobile:litert") as whole:
        with pytest.raises(UsageError, match=r"tokens=17.*no bucket is that large.*tokens=16"):
            whole(feed(17))
        with pytest.raises(UsageError, match="must be 5 long along axis 1 as in 'ids'"):
            whole({**feed(5), "mask": np.ones((1, 4), np.int64)})


def test_it_verifies_and_a_damaged_whole_is_refused(bundle, tmp_path):
    import shutil

    checked = edgepack.verify(bundle.path)
    assert checked.ok
    assert checked.parities["mobile:litert calls in a row"].inputs_tried == 6
    assert "called as main" in (bundle.path / "report.html").read_text()
    copy = tmp_path / "copy"
    shutil.copytree(bundle.path, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["programs"][0]["whole"]["variants"][0]["steps"] = ["main-5"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with (
        pytest.raises(UsageError, match="names the part 'main-5'"),
        edgepack.open_program(copy, "mobile:litert"),
    ):
        pass


def asked(model, tmp_path, cache, **options):
    given = {"buckets": {"tokens": [4, 8]}, **options}
    recipe = make(
        model=str(model),
        targets=["mobile:litert"],
        precision="fp32",
        out=str(tmp_path / "out"),
        measure=False,
        **given,
    )
    return run(recipe, cache=cache, jobs=1)


def test_a_model_that_padding_changes_is_refused(tmp_path, cache):
    model = encoder(tmp_path / "model.onnx", mask=None)
    with pytest.raises(UsageError, match=r"Padding changes.*output is y.*no mask") as caught:
        asked(model, tmp_path, cache)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_mask_that_is_added_is_padded_with_a_large_negative_number(tmp_path, cache):
    model = encoder(tmp_path / "model.onnx", mask="float")
    bundle = asked(model, tmp_path, cache)
    assert bundle.manifest.programs[0].whole["fill"]["mask"] < -2
    assert "pads mask with" in (bundle.path / "report.md").read_text()
    with pytest.raises(UsageError, match="Its mask mask does not hide"):
        asked(model, tmp_path, cache, pad={"mask": 3.0})


@pytest.mark.slow
def test_a_quantized_bucket_is_judged_with_padding(tmp_path, cache):
    model = encoder(tmp_path / "model.onnx", mask="int")
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 32, (24, 8))
    np.savez(tmp_path / "data.npz", ids=ids, mask=np.ones((24, 8), np.int64))
    recipe = make(
        model=str(model), targets=["npu:ethos-u85-512"], precision="int16x8-static", buckets={"tokens": [4, 8]},
        calibration=str(tmp_path / "data.npz"), calibration_samples=16, out=str(tmp_path / "out"), measure=False,
    )  # fmt: skip
    bundle = run(recipe, cache=cache, jobs=1)
    assert [artifact.part for artifact in bundle.artifacts] == ["main-4", "main-8"]
    assert [artifact.files for artifact in bundle.artifacts] == [
        [f"npu-ethos-u85-512/main-{n}_ethos-u85-512.tflite"] for n in (4, 8)
    ]
    (program,) = bundle.manifest.programs
    assert program.rollout.inputs_tried == 8
    assert program.rollout is not None
    assert (program.rollout.cosine or 0) > 0.99
    assert edgepack.verify(bundle.path).ok


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"buckets": {"tokens": []}}, "buckets of 'tokens' are nothing"),
        ({"buckets": {"tokens": [4, 4]}}, "each once"),
        ({"buckets": {"tokens": [0]}}, "positive"),
        ({"buckets": {"tokens": list(range(1, 19))}}, "18 combinations"),
        ({"buckets": {"tokens": [4]}, "sizes": {"tokens": 4}}, "one size and several buckets"),
        ({"buckets": {"tokens": [4]}, "metric": "perplexity"}, "judges a model that takes every length"),
        ({"pad": {"mask": 1}}, "nothing is padded"),
    ],
)
def test_a_wrong_request_is_refused_at_once(options, words):
    with pytest.raises(UsageError, match=words):
        make(model="m.onnx", **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"buckets": {"token": [4]}}, "Did you mean 'tokens'"),
        ({"pad": {"masc": 1.0}}, "Did you mean 'mask'"),
    ],
)
def test_a_name_that_the_model_lacks_is_refused(options, words, tmp_path, cache):
    model = encoder(tmp_path / "model.onnx", mask="int")
    with pytest.raises(UnknownNameError, match=words):
        asked(model, tmp_path, cache, **options)


def test_samples_are_padded_with_what_the_mask_takes_for_nothing():
    spec = TensorSpec("mask", "float32", (1, "tokens"))
    whole = Whole("main", Signature((spec,), ()), (Variant({"tokens": 4}, ("main-4",)),), {"mask": -30.0})
    feeds = [{"mask": np.zeros((1, n), np.float32)} for n in (2, 6)]
    facts = Calibration(kind="user", description="", samples=1, held_out=1)
    found = padded(CalibrationData(facts, feeds[:1], feeds[1:], "data"), whole, {"tokens": 4})
    np.testing.assert_array_equal(found.samples[0]["mask"], [[0, 0, -30, -30]])
    np.testing.assert_array_equal(found.held_out[0]["mask"], [[0, 0, 0, 0]])
    assert found.fingerprint != "data"


@pytest.mark.slow
def test_every_bucket_is_measured_on_a_device(bundle):
    profile = edgepack.profile(bundle.path, "local", target="mobile:litert")
    (one,) = profile.targets
    assert [unit.unit for unit in one.measured if unit.latency] == ["main-4", "main-8", "main-16"]
