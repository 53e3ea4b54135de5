"""The layer with outliers is found, the fix is measured, offered as a command, and applied."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import edgepack
from edgepack.toolchain.blame.bisect import apply, bisect
from edgepack.toolchain.blame.opening import Asked
from edgepack.toolchain.errors import BundleError, UsageError


@pytest.fixture(scope="module")
def blame(rejected, cache):
    return bisect(rejected.path, cache=cache, top=3, samples=16)


def test_the_layer_that_reads_the_outliers_is_ranked_first(blame):
    assert blame.order[0] == "down2"
    layers = {layer.node: layer for layer in blame.layers}
    assert layers[blame.order[0]].added_db < layers[blame.order[1]].added_db - 6
    ratios = [layers[node].added_db for node in blame.order]
    assert ratios == sorted(ratios)
    # What is behind it inherits its noise, what is before it does not.
    assert layers["sum1"].accumulated_db > layers["sum2"].accumulated_db + 6


def test_only_keeping_that_layer_helps(blame):
    tried = {layer.node: layer.cosine_alone for layer in blame.layers if layer.cosine_alone is not None}
    assert list(dict.fromkeys(blame.order[:3])) == sorted(tried, key=blame.order.index)
    best = tried.pop(blame.order[0])
    assert 1 - best < 0.2 * (1 - blame.start.cosine)
    assert all(1 - other > 0.9 * (1 - blame.start.cosine) for other in tried.values())


def test_the_fewest_layers_that_pass_are_offered_and_built(blame):
    assert not blame.parity.passed
    assert not blame.start.passed
    verdicts = {step.kept: step.parity.passed for step in blame.steps}
    assert verdicts[blame.offered]
    assert not any(passed for kept, passed in verdicts.items() if kept < blame.offered)
    assert blame.offered == 1 or blame.offered - 1 in verdicts
    assert blame.confirmed.passed
    assert blame.confirmed.inputs_tried == 24
    trial = next(step.parity for step in blame.steps if step.kept == blame.offered)
    assert trial.cosine == pytest.approx(blame.confirmed.cosine, abs=1e-4)
    for node in blame.order[: blame.offered]:
        assert f"--keep {node}" in blame.command


def test_applying_the_fix_exports_a_bundle_that_passes(blame, cache, tmp_path):
    done = apply(blame, Asked(), blame.offered, tmp_path / "kept", cache)
    assert done.passed
    assert done.before.parity.cosine < done.after.parity.cosine  # type: ignore[operator]
    assert done.after.changed_nodes < done.before.changed_nodes  # type: ignore[operator]
    assert edgepack.verify(tmp_path / "kept").ok
    manifest = json.loads((tmp_path / "kept" / "manifest.json").read_text())
    assert manifest["recipe"]["keep"] == blame.order[: blame.offered]
    assert f"--keep {blame.order[0]}" in manifest["command"]
    again = bisect(tmp_path / "kept", cache=cache, top=1, samples=4)
    assert again.start.passed
    assert again.offered is None
    kept = {layer.node: layer for layer in again.layers}[blame.order[0]]
    assert kept.added_db is None or kept.added_db > 100


def test_applying_more_layers_than_there_are_is_refused(blame, tmp_path, cache):
    with pytest.raises(UsageError, match="99 layers cannot be kept"):
        apply(blame, Asked(), 99, tmp_path / "kept", cache)


def test_weight_only_files_are_blamed_too(network, plain, cache, samples, tmp_path):
    bundle = edgepack.export(
        network(tmp_path / "loud.onnx"), targets=plain, out=tmp_path / "w", precision="int8-weights",
        calibration=str(samples), calibration_samples=24, gate={"cosine": 0.999999}, measure=False,
        check=False, cache=cache,
    )  # fmt: skip
    found = bisect(bundle.path, cache=cache, top=1, samples=4)
    assert {layer.op for layer in found.worst(10)} == {"MatMul"}
    assert all(layer.added_db is None for layer in found.layers if layer.op in {"Add", "Relu"})
    best = found.worst(1)[0]
    assert best.cosine_alone > found.start.cosine  # type: ignore[operator]


@pytest.fixture
def export(network, plain, cache, samples, tmp_path):
    def make(**options):
        model = network(tmp_path / "loud.onnx")
        options = {"calibration": str(samples), "calibration_samples": 24, "measure": False, **options}
        return edgepack.export(model, targets=plain, out=tmp_path / "b", cache=cache, check=False, **options)

    return make


def test_a_bundle_of_fp32_is_refused_with_what_else_could_be_blamed(export, cache):
    bundle = export(gate={"cosine": 0.999})
    assert bundle.artifacts[0].precision == "fp32"
    with pytest.raises(UsageError, match=r"is fp32: nothing in it was rounded.*--precision int8-static"):
        bisect(bundle.path, cache=cache)
    found = bisect(bundle.path, Asked(precision="int8-static"), cache=cache, top=1, samples=4)
    assert found.order[0] == "down2"


def test_a_model_that_has_changed_is_refused(export, cache, tmp_path):
    bundle = export(precision="int8-static")
    model = onnx.load(tmp_path / "loud.onnx")
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0]) * np.float32(1.01)
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(weights, model.graph.initializer[0].name)
    )
    onnx.save(model, tmp_path / "loud.onnx")
    with pytest.raises(
        UsageError, match=r"not the one that this bundle was made from.*Export it again: edgepack"
    ):
        bisect(bundle.path, cache=cache)


def test_what_the_bundle_does_not_hold_is_refused(rejected, cache, tmp_path):
    with pytest.raises(BundleError, match="no such folder"):
        bisect(tmp_path / "nowhere", cache=cache)
    with pytest.raises(UsageError, match="Did you mean 'cpu:plain'"):
        bisect(rejected.path, Asked(target="cpu:plane"), cache=cache)
    with pytest.raises(UsageError, match="Unknown precision in this bundle 'int4-weights'"):
        bisect(rejected.path, Asked(precision="int4-weights"), cache=cache)


def test_keeping_an_unknown_node_stops_the_export(export):
    with pytest.raises(UsageError, match=r"no node 'donw2' to keep float.*'down2'"):
        export(precision="int8-static", keep=["donw2"])
    with pytest.raises(UsageError, match="fp32 rounds none"):
        export(precision="fp32", keep=["down2"])
