"""Lookups that stay on the host: a part of their own, linked with the accelerator's, and judged with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

import edgepack
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.errors import TargetError, UsageError
from edgepack.toolchain.pipeline import run
from edgepack.toolchain.recipe import make
from edgepack.toolchain.results import NodeReason, Placement
from tests.toolchain.pipeline.conftest import CopyTarget
from tests.toolchain.pipeline.test_buckets import WIDTH, encoder, feed

U55 = "npu:ethos-u55-128"


def built(folder, model, **options):
    ids = np.random.default_rng(0).integers(1, 32, (24, 8))
    np.savez(folder / "data.npz", ids=ids, mask=np.ones((24, 8), np.int64))
    given = {"targets": [U55], "precision": "int16x8-static", **options}
    recipe = make(
        model=str(model), calibration=str(folder / "data.npz"), calibration_samples=16, out=str(folder / "out"),
        measure=False, gate={"cosine": 0.98}, **given,
    )  # fmt: skip
    with Cache(folder / "cache") as cache:
        return run(recipe, cache=cache, jobs=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return encoder(tmp_path_factory.mktemp("model") / "model.onnx", mask="int")


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    return built(tmp_path_factory.mktemp("host"), model, host=["lookups"], sizes={"tokens": 8})


@pytest.mark.slow
def test_two_parts_ship_and_only_one_of_them_counts_as_placed(bundle):
    lookup, core = bundle.artifacts
    assert (lookup.part, lookup.precision, lookup.run.session) == ("lookup", "fp32", "litert")
    assert (core.part, core.precision) == ("core", "int16x8-static")
    assert lookup.files == ["npu-ethos-u55-128/lookup.tflite"]
    assert core.files == ["npu-ethos-u55-128/core_ethos-u55-128.tflite"]
    assert lookup.placement.accelerator == 0
    assert not any(reason.op in {"GATHER", "CAST", "SELECT_V2"} for reason in core.placement.reasons)
    assert "Stays on the host" in " ".join(lookup.notes)
    assert all(artifact.parity.passed for artifact in bundle.artifacts)
    table = 32 * WIDTH * 4
    assert lookup.size_bytes > table
    assert "--host lookups" in bundle.manifest.command


@pytest.mark.slow
def test_the_parts_are_called_as_one(bundle, model):
    (program,) = bundle.manifest.programs
    assert program.whole["variants"] == [{"sizes": {}, "steps": ["lookup", "core"]}]
    assert program.rollout.passed
    with edgepack.open_program(bundle.path, U55) as whole:
        found = whole(feed(8))["y"]
    expected = onnxruntime.InferenceSession(model).run(None, feed(8))[0]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    with (
        edgepack.open_program(bundle, U55) as whole,
        pytest.raises(UsageError, match="must be 8 long along axis 1"),
    ):
        whole(feed(5))


@pytest.mark.slow
def test_it_verifies(bundle):
    checked = edgepack.verify(bundle.path)
    assert checked.ok
    assert len(checked.parities) == 3


@pytest.mark.slow
def test_both_with_buckets(model, tmp_path):
    bundle = built(tmp_path, model, host=["lookups"], buckets={"tokens": [4, 8]})
    assert [artifact.part for artifact in bundle.artifacts] == ["lookup-4", "core-4", "lookup-8", "core-8"]
    (program,) = bundle.manifest.programs
    assert program.rollout.passed
    with edgepack.open_program(bundle, U55) as whole:
        assert whole(feed(3))["y"].shape == (1, 3, WIDTH)
        assert whole(feed(7))["y"].shape == (1, 7, WIDTH)


def lookup_left(copy_target):
    """A target with ONNX Runtime on its host, whose compiler leaves a lookup on the CPU."""
    reasons = [NodeReason(node="e", op="Gather", reason="no lookups", cure="none")]

    def compile_(self, lowered, context, folder):
        made = CopyTarget.compile(self, lowered, context, folder)
        lookups = "Gather" in {node.op_type for node in onnx.load(lowered.path).graph.node}
        return replace(made, placement=Placement(accelerator=5, cpu=int(lookups), reasons=reasons * lookups))

    return copy_target(host="cpu:onnxruntime", compile=compile_)


def test_a_lookup_that_is_left_is_offered_to_the_host(tmp_path, model, copy_target):
    target = lookup_left(copy_target)
    (whole,) = built(tmp_path, model, targets=[target], precision="fp32", sizes={"tokens": 8}).artifacts
    assert any("--host lookups" in note for note in whole.notes)


def test_onnxruntime_on_the_host(tmp_path, model, copy_target):
    target = lookup_left(copy_target)
    options = {"targets": [target], "precision": "fp32", "sizes": {"tokens": 8}, "host": ["lookups"]}
    bundle = built(tmp_path, model, **options)
    lookup, core = bundle.artifacts
    assert (lookup.part, lookup.run.session) == ("lookup", "onnxruntime")
    assert (lookup.placement.accelerator, core.placement.cpu) == (0, 0)
    assert not any("--host lookups" in note for one in (lookup, core) for note in one.notes)
    (ids, mask) = onnxruntime.InferenceSession(bundle.path / lookup.files[0]).get_inputs()
    assert (ids.shape, mask.shape) == ([1, 8], [1, 8])  # what the core was built for
    with edgepack.open_program(bundle.path, target) as program:
        found = program(feed(8))["y"]
    expected = onnxruntime.InferenceSession(model).run(None, feed(8))[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_nothing_to_split_or_nobody_to_split_for_is_refused(tmp_path, model):
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )  # fmt: skip
    plain = tmp_path / "plain.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), plain)
    with pytest.raises(TargetError, match="looks up no table") as caught:
        built(tmp_path, plain, host=["lookups"])
    assert caught.value.exit_code == 4
    with pytest.raises(UsageError, match="leaves anything to a host"):
        built(tmp_path, model, host=["lookups"], targets=["cpu:onnxruntime"])
    with pytest.raises(UsageError, match=r"host"):
        make(model="m.onnx", host=["everything"])
