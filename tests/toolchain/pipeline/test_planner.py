"""What the planner does with a metric, a time budget, a form that gains nothing, and several runtimes."""

import sys

import numpy as np
import pytest

import edgepack
from edgepack.runtime import memory
from edgepack.runtime.sessions.base import sessions
from edgepack.runtime.sessions.onnxruntime import OnnxRuntimeSession
from edgepack.targets.base import Offer
from edgepack.toolchain import errors
from edgepack.toolchain.pipeline import planning
from edgepack.toolchain.pipeline.budget import Budget
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.results import CandidateResult, Comparison, Latency, Memory, Parity
from tests.exporters import models
from tests.toolchain.pipeline.conftest import CopyTarget
from tests.toolchain.pipeline.test_programs import factory

THREE = ("fp32", "int8-dynamic", "int8-static")
METRICS = """
import numpy as np
X = np.random.default_rng(5).standard_normal((64, 8)).astype(np.float32)
CALLS = []

def strict(model):
    '''0 for the model that it sees first, fp32; below that for any other.'''
    CALLS.append(float(np.abs(model({"x": X})["y"]).sum()))
    return -abs(CALLS[-1] - CALLS[0])

def lenient(model):
    return 1.0

def raises_on_noise(model):
    value = strict(model)
    if len(CALLS) > 1:
        raise ValueError("not this one")
    return value
"""


def run(model, out, cache, **options):
    options = {"measure": False, "calibration_samples": 8, **options}
    return edgepack.export(model, out=out, cache=cache, check=False, **options)


def lines(bundle):
    return {line.precision: line for line in bundle.manifest.candidates}


@pytest.fixture
def metric(tmp_path):
    path = tmp_path / "metrics.py"
    path.write_text(METRICS)
    return lambda name: f"python:{path}:{name}"


def test_the_users_metric_judges_instead_of_the_default_gate(model, tmp_path, cache, copy_target, metric):
    name = copy_target(precisions=THREE)
    found = lines(run(model, tmp_path / "out", cache, targets=name, metric=metric("lenient")))
    # 90 % noise on the weights: its cosine is far below the default gate, and the user does not mind.
    assert found["int8-static"].parity.cosine < 0.99
    assert found["int8-static"].parity.passed
    assert found["int8-static"].parity.metric.value == 1.0


def test_a_metric_that_is_not_reached_fails_the_candidate(model, tmp_path, cache, copy_target, metric):
    name = copy_target(precisions=THREE)
    bundle = run(model, tmp_path / "out", cache, targets=name, metric=metric("strict"))
    found = lines(bundle)
    assert found["int8-dynamic"].outcome == "failed-gate"
    assert "the limit for fp32's" in found["int8-dynamic"].why
    assert found["int8-dynamic"].parity.cosine > 0.999
    assert bundle.artifacts[0].precision == "fp32"
    assert edgepack.verify(tmp_path / "out").ok


def test_a_metric_that_raises_on_a_candidate_fails_it_and_on_fp32_the_run(
    model, tmp_path, cache, copy_target, metric
):
    name = copy_target(precisions=("fp32", "int8-dynamic"))
    found = lines(run(model, tmp_path / "out", cache, targets=name, metric=metric("raises_on_noise")))
    assert found["int8-dynamic"].outcome == "failed-gate"
    assert "The metric raised ValueError: not this one" in found["int8-dynamic"].why
    path = tmp_path / "bad.py"
    path.write_text("def f(model):\n    return model({'wrong': 1})\n")
    with pytest.raises(errors.UsageError, match="The input 'x' of part 'main' is missing"):
        run(model, tmp_path / "none", cache, targets=name, metric=f"python:{path}:f")
    assert not (tmp_path / "none").exists()


def test_an_agreement_can_be_the_metric(model, tmp_path, cache, copy_target):
    name = copy_target(precisions=THREE)
    options = {"metric": "min_cosine", "gate": {"min_cosine": -1.0}}
    found = lines(run(model, tmp_path / "out", cache, targets=name, **options))
    assert found["int8-static"].parity.gate == {"min_cosine": -1.0}
    assert found["int8-static"].parity.passed


def test_perplexity_of_what_is_no_language_model_is_refused(model, tmp_path, cache, copy_target):
    name = copy_target(precisions=THREE)
    with pytest.raises(errors.UsageError, match="must take tokens and give logits"):
        run(model, tmp_path / "out", cache, targets=name, metric="perplexity")


def test_without_timing_nothing_quantized_ships(model, tmp_path, cache, copy_target):
    bundle = run(model, tmp_path / "out", cache, targets=copy_target(precisions=("int8-dynamic", "fp32")))
    assert bundle.artifacts[0].precision == "fp32"
    assert "nothing was timed" in lines(bundle)["fp32"].why


def test_a_form_that_was_asked_for_and_gains_nothing_is_named(model, tmp_path, cache, copy_target):
    name = copy_target(precisions=("fp32", "int8-dynamic"))
    bundle = run(model, tmp_path / "out", cache, targets=name, precision="int8-dynamic", measure=True)
    (artifact,) = bundle.artifacts
    assert artifact.precision == "int8-dynamic"
    assert artifact.comparison.baseline == "fp32"
    # The same work in both: it may at most seem faster by chance.
    said = any("not measurably faster than fp32" in warning for warning in bundle.manifest.warnings)
    assert said is (artifact.comparison.verdict != "faster")


def test_a_used_up_budget_leaves_fp32(model, tmp_path, cache, copy_target):
    name = copy_target(precisions=("int8-dynamic", "fp32", "int8-static"))
    bundle = run(model, tmp_path / "out", cache, targets=name, time_budget_s=1e-6)
    found = lines(bundle)
    assert bundle.artifacts[0].precision == "fp32"
    assert found["int8-dynamic"].outcome == found["int8-static"].outcome == "not-built"
    assert "time budget of 1e-06 s was used up" in found["int8-static"].why


def test_a_target_without_a_float_form_gets_its_first_offer_whatever_the_budget(
    model, tmp_path, cache, copy_target
):
    name = copy_target(precisions=("int8-dynamic", "int8-static"))
    bundle = run(model, tmp_path / "out", cache, targets=name, time_budget_s=1e-6)
    assert bundle.artifacts[0].precision == "int8-dynamic"


def test_turns_share_a_budget_and_pass_on_what_they_leave():
    now = [0.0]
    budget = Budget(60.0, lambda: now[0])
    first = budget.turn(3)
    assert first.seconds == 20
    now[0] = 2.0
    assert budget.turn(2).seconds == 29
    now[0] = 25.0
    assert first.over
    assert first.seconds == 0
    now[0] = 70.0
    assert budget.turn(1).over
    assert Budget(None).turn(1).seconds is None
    assert not Budget(None).turn(1).over


class OtherSession(OnnxRuntimeSession):
    """Another runtime, as far as the planner can see."""


def test_runtimes_are_timed_side_by_side(model, tmp_path, cache, add_target, monkeypatch):
    sessions.names()
    monkeypatch.setitem(sessions._members, "other", OtherSession)
    # It is taken in a process of its own, which knows no session of a test.
    monkeypatch.setattr(memory, "peak", lambda *_, **__: Memory(kind="measured", peak_bytes=1 << 21))
    one = add_target(type("One", (CopyTarget,), {"name": "cpu:one"}))
    two = add_target(type("Two", (CopyTarget,), {"name": "cpu:two", "session": "other"}))
    bundle = run(model, tmp_path / "out", cache, targets=[one, two], measure=True)
    (found,) = bundle.manifest.runtimes
    assert found.baseline == "fp32 on ONNX Runtime"
    assert {entry.target for entry in found.entries} == {"cpu:one", "cpu:two"}
    times = [entry.latency.p50_ms for entry in found.entries]
    assert times == sorted(times)
    assert all(entry.comparison.rounds >= 8 for entry in found.entries)
    alone = run(model, tmp_path / "alone", cache, targets=one, measure=True)
    assert alone.manifest.runtimes == []


def timed(precision, quantizer, p50, target):
    candidate = Candidate(target, Offer(precision, quantizer), parity=Parity(passed=True))
    candidate.latency = Latency(kind="measured", p50_ms=p50)
    return candidate


def against(ratio, verdict):
    return Comparison(baseline="fp32", ratio=ratio, ci_low=ratio, ci_high=ratio, rounds=30, verdict=verdict)


@pytest.mark.parametrize(
    ("ratio", "verdict", "chosen"),
    [(1.3, "faster", "int8-dynamic"), (1.3, "can't tell", "fp32"), (0.7, "slower", "fp32")],
)
def test_only_what_is_measurably_faster_replaces_fp32(ratio, verdict, chosen):
    target = CopyTarget()
    both = [timed("int8-dynamic", "noise", 1.0, target), timed("fp32", None, ratio, target)]
    best, _ = planning.choose(both, {"int8-dynamic": against(ratio, verdict)})
    assert best.offer.precision == chosen


TEXT = """
import numpy as np
from tests.exporters.models import VOCABULARY

def texts():
    rng = np.random.default_rng(1)
    for _ in range(24):
        yield {"ids": rng.integers(0, VOCABULARY, (1, 20))}
"""


@pytest.mark.slow
def test_a_decoding_step_is_calibrated_on_the_users_text_and_judged_by_perplexity(
    tmp_path, cache, add_target, monkeypatch
):
    (tmp_path / "text.py").write_text(TEXT)
    noisy = {"name": "cpu:noisy", "precisions": THREE, "lower": _whole}
    monkeypatch.setattr(
        sys.modules[CopyTarget.__module__], "LEVELS", {"int8-dynamic": 1e-3, "int8-static": 0.5}
    )
    name = add_target(type("Noisy", (CopyTarget,), noisy))
    bundle = run(
        factory("decoder"), tmp_path / "out", cache, targets=name, metric="perplexity",
        precision="int8", calibration=f"python:{tmp_path}/text.py:texts", gate={"cosine": -1.0},
    )  # fmt: skip
    by_part: dict[str, dict[str, CandidateResult]] = {}
    for line in bundle.manifest.candidates:
        by_part.setdefault(line.part, {})[line.precision] = line
    assert set(by_part) == {"prefill", "decode"}
    decode = next(a for a in bundle.artifacts if a.part == "decode")
    assert decode.calibration.kind == "user"
    assert decode.calibration.description.startswith("steps after a prompt")
    assert decode.precision == "int8-dynamic"
    (program,) = bundle.manifest.programs
    metric = program.rollout.metric
    assert metric.name == "perplexity"
    assert metric.reference == pytest.approx(_by_torch(8, 16), rel=1e-4)
    assert metric.value <= 1.02 * metric.reference


def _whole(self, program, part, context, folder):
    """One file a part, whatever the parts share."""
    import onnx_ir as ir

    path = folder / "main.onnx"
    ir.save(ir.external_data.load_to_model(part.model()), path)
    return Lowered(part.name, "onnx", path, part.signature)


def _by_torch(first, last):
    """Perplexity of the source model over the texts that judge, after a prompt of a quarter."""
    import torch

    rng = np.random.default_rng(1)
    texts = [rng.integers(0, models.VOCABULARY, (1, 20)) for _ in range(last)][first:]
    net = models.Decoder()
    with torch.no_grad():
        losses = []
        for text in map(torch.from_numpy, texts):
            logits = net(text)[0][0, 4:-1].double()
            losses.append(torch.nn.functional.cross_entropy(logits, text[0, 5:], reduction="none"))
    return float(torch.exp(torch.cat(losses).mean()))
