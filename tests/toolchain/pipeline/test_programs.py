"""Models of several parts through the whole pipeline: shared weights, calls in a row, fallbacks."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgepack
from edgepack.quantize.base import Quantizer, quantizers
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.pipeline import run
from edgepack.toolchain.recipe import make
from tests.exporters import models
from tests.toolchain.pipeline.conftest import CopyTarget

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("exports_here")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all: a model that several tests ship is exported once."""
    with Cache(tmp_path_factory.mktemp("cache")) as store:
        yield store


def factory(name):
    return f"{Path(models.__file__)}:{name}"


def exported(name, tmp_path, cache, target, **options):
    recipe = make(model=factory(name), targets=[target], out=str(tmp_path / "out"), measure=False, **options)
    return run(recipe, cache=cache)


def test_a_decoder_ships_two_graphs_over_one_file_of_weights(tmp_path, cache):
    bundle = exported("decoder", tmp_path, cache, "cpu:onnxruntime", precision="fp32")
    prefill, decode = bundle.artifacts
    assert (prefill.part, decode.part) == ("prefill", "decode")
    assert prefill.files == ["cpu-onnxruntime/prefill.onnx", "cpu-onnxruntime/weights.data"]
    assert decode.files == ["cpu-onnxruntime/decode.onnx", "cpu-onnxruntime/weights.data"]
    weights = sum(p.numel() * 4 for p in models.Decoder().parameters())
    size = bundle.manifest.files["cpu-onnxruntime/weights.data"].size_bytes
    # Once, and the embedding a second time, transposed for the product at the end.
    assert size < 1.6 * weights
    (program,) = bundle.manifest.programs
    assert program.rollout.passed
    assert program.rollout.inputs_tried == 1 + models.STEPS
    assert program.shared_bytes == size
    report = (bundle.path / "report.html").read_text()
    assert "Parts called in a row" in report
    checked = edgepack.verify(bundle.path)
    assert checked.ok
    assert "cpu:onnxruntime calls in a row" in checked.parities


def test_a_program_is_opened_and_called(tmp_path, cache):
    import torch

    bundle = exported("decoder", tmp_path, cache, "cpu:onnxruntime", precision="fp32")
    ids = np.random.default_rng(9).integers(0, models.VOCABULARY, (2, 12))
    with torch.no_grad():
        whole = models.Decoder()(torch.from_numpy(ids))[0].numpy()
    with edgepack.open_program(bundle.path, "cpu:onnxruntime") as program:
        got = [program.call("prefill", {"ids": ids[:, :5]})["logits"]]
        got += [program.call("decode", {"ids": ids[:, t : t + 1]})["logits"] for t in range(5, 12)]
        np.testing.assert_allclose(np.concatenate(got, 1), whole, atol=1e-5)
        program.reset()
        # A fresh state is an empty cache: decoding alone gives the whole sequence too.
        alone = program.call("decode", {"ids": ids})["logits"]
    np.testing.assert_allclose(alone, whole, atol=1e-5)


def test_litert_holds_the_parts_in_one_file(tmp_path, cache):
    bundle = exported("exits", tmp_path, cache, "mobile:litert", precision="fp32", sizes={"batch": 3})
    assert [artifact.part for artifact in bundle.artifacts] == ["begin", "rest", "whole"]
    assert {tuple(artifact.files) for artifact in bundle.artifacts} == {("mobile-litert/program.tflite",)}
    weights = sum(p.numel() * 4 for p in models.Exits().parameters())
    size = bundle.manifest.files["mobile-litert/program.tflite"].size_bytes
    assert weights < size < 1.5 * weights  # each of the four blocks is in two parts
    (program,) = bundle.manifest.programs
    assert program.rollout.passed
    assert program.shared_bytes == size
    assert edgepack.verify(bundle.path).ok
    x = np.random.default_rng(9).standard_normal((3, models.WIDTH)).astype(np.float32)
    with edgepack.open_program(bundle.path, "mobile:litert") as parts:
        parts.call("begin", {"x": x})
        np.testing.assert_allclose(
            parts.call("rest", {})["late"], parts.call("whole", {"x": x})["late"], atol=1e-5
        )


@pytest.mark.skipif(find_spec("_mnncengine") is None, reason="the extra mnn is not installed")
def test_a_cache_that_grows_in_mnn(tmp_path, cache):
    bundle = exported("decoder", tmp_path, cache, "mobile:mnn", precision="fp32")
    assert [artifact.part for artifact in bundle.artifacts] == ["prefill", "decode"]
    (program,) = bundle.manifest.programs
    assert program.rollout.passed
    assert program.rollout.inputs_tried == 1 + models.STEPS
    assert edgepack.verify(bundle.path).ok


@pytest.mark.skipif(find_spec("executorch") is None, reason="the extra executorch is not installed")
def test_a_state_goes_round_in_executorch(tmp_path, cache):
    bundle = exported("streaming", tmp_path, cache, "mobile:executorch", precision="fp32")
    (artifact,) = bundle.artifacts
    assert artifact.files == [f"mobile-executorch/{artifact.part}.pte"]
    (program,) = bundle.manifest.programs
    assert program.rollout.passed
    assert edgepack.verify(bundle.path).ok


class Drift(Quantizer):
    """Scales the constants a little: one step is within its gate, forty are not."""

    format = "onnx"
    static = False
    factor = 1.1

    def quantize(self, lowered, precision, data, folder, **options):  # noqa: ARG002 - the interface
        model = onnx.load(lowered.path)
        for tensor in model.graph.initializer:
            value = numpy_helper.to_array(tensor)
            if value.dtype == np.float32 and value.size == 1:
                tensor.CopyFrom(
                    numpy_helper.from_array(np.asarray(value * self.factor, np.float32), tensor.name)
                )
        onnx.save(model, folder / "step.onnx")
        return lowered.quantized(folder / "step.onnx", precision, 1)


class LessDrift(Drift):
    """A hundredth of it."""

    factor = 1.001


class Drifting(CopyTarget):
    """Offers the drifting form first."""

    name = "cpu:drifting"
    runs_here = False  # nothing is timed: the form that is offered first is chosen

    def offers(self, lowered, rows=None):
        from edgepack.targets.base import Offer

        return [Offer("int8-dynamic", "drift"), *super().offers(lowered, rows)]


def test_parts_that_fail_in_company_fall_back_to_floating_point(tmp_path, cache, add_target, monkeypatch):
    monkeypatch.setitem(quantizers._members, "drift", Drift)
    bundle = exported("streaming", tmp_path, cache, add_target(Drifting), gate={"cosine": 0.98})
    (artifact,) = bundle.artifacts
    by_precision = {c.precision: c for c in bundle.manifest.candidates}
    assert by_precision["int8-dynamic"].parity.passed
    assert artifact.precision == "fp32"
    assert "with int8-dynamic the parts together failed" in by_precision["fp32"].why
    assert bundle.manifest.programs[0].rollout.passed
    assert bundle.manifest.programs[0].initial == "cpu-drifting/states.npz"
    assert edgepack.verify(bundle.path).ok


class IntegersOnly(Drifting):
    """An accelerator that is not here and has no floating point, with two widths of integers."""

    name = "cpu:integers"

    def offers(self, lowered, rows=None):  # noqa: ARG002 - the interface
        from edgepack.targets.base import Offer

        return [Offer("int8-static", "drift"), Offer("int16x8-static", "less-drift")]


def test_parts_that_fail_in_company_step_to_wider_integers(tmp_path, cache, add_target, monkeypatch):
    monkeypatch.setitem(quantizers._members, "drift", Drift)
    monkeypatch.setitem(quantizers._members, "less-drift", LessDrift)
    bundle = exported("streaming", tmp_path, cache, add_target(IntegersOnly), gate={"cosine": 0.98})
    (artifact,) = bundle.artifacts
    assert artifact.precision == "int16x8-static"
    (wider,) = (c for c in bundle.manifest.candidates if c.precision == "int16x8-static")
    assert "with int8-static the parts together failed" in wider.why
    assert bundle.manifest.programs[0].rollout.passed


class LastResort(IntegersOnly):
    """Has a third form that costs more than the others."""

    name = "cpu:last-resort"
    second = "drift"

    def offers(self, lowered, rows=None):  # noqa: ARG002 - the interface
        from edgepack.targets.base import Offer

        return [
            Offer("int16-static", "less-drift", fallback=True),
            Offer("int8-static", "drift"),
            Offer("int16x8-static", self.second),
        ]


class NotNeeded(LastResort):
    """Whose second form does."""

    name = "cpu:not-needed"
    second = "less-drift"


@pytest.mark.parametrize("target", [LastResort, NotNeeded])
def test_what_costs_more_is_built_when_nothing_else_holds(target, tmp_path, cache, add_target, monkeypatch):
    monkeypatch.setitem(quantizers._members, "drift", Drift)
    monkeypatch.setitem(quantizers._members, "less-drift", LessDrift)
    bundle = exported("streaming", tmp_path, cache, add_target(target), gate={"cosine": 0.98})
    (artifact,) = bundle.artifacts
    (last,) = (c for c in bundle.manifest.candidates if c.precision == "int16-static")
    if target is NotNeeded:
        assert (artifact.precision, last.outcome) == ("int16x8-static", "not-built")
        assert "costs more than the others" in last.why
    else:
        assert (artifact.precision, last.outcome) == ("int16-static", "chosen")
    assert bundle.manifest.programs[0].rollout.passed


def test_links_are_checked_in_company_too(tmp_path, cache):
    path = tmp_path / "crossed.py"
    path.write_text(
        "from tests.exporters import models\ndef make():\n    return models.decoder(mistake='crossed')\n"
    )
    recipe = make(model=f"{path}:make", targets=["cpu:onnxruntime"], out=str(tmp_path / "out"))
    with pytest.raises(edgepack.EdgepackError, match="step by step differ from the full sequence") as caught:
        run(recipe, cache=cache)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "out").exists()
