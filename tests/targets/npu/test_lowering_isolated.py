"""The bars of real models on the HTP, the RK3588 and the K230, where the isolated environments have been made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgepack
from edgepack.toolchain.vendors import k230, qnn, rknn
from tests.targets.npu.lowered import FEW, JUDGE, Subject, cosine, efficientnet_on, minilm_on

pytestmark = [pytest.mark.slow]
HTP = pytest.param(
    "npu:qnn-htp-v75",
    marks=pytest.mark.skipif(qnn.ENVIRONMENT.state() != "ready", reason=f"{qnn.SETUP} makes its environment"),
)
RK3588 = pytest.param(
    "npu:rk3588",
    marks=pytest.mark.skipif(
        rknn.ENVIRONMENT.state() != "ready", reason=f"{rknn.SETUP} makes its environment"
    ),
)
K230 = pytest.param(
    "npu:k230",
    marks=pytest.mark.skipif(
        k230.ENVIRONMENT.state() != "ready", reason=f"{k230.SETUP} makes its environment"
    ),
)


@pytest.fixture(scope="module")
def encoder(minilm: Path, sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return minilm_on(minilm, sentences, tmp_path_factory.mktemp("minilm")).on("int16-static")


@pytest.mark.parametrize("target", [HTP, RK3588])
def test_minilm_is_placed_and_keeps_its_meaning(target: str, encoder: Subject, tmp_path: Path) -> None:
    row = encoder.row(target, tmp_path)
    assert row.macs_share >= 0.99
    assert row.encoder_share >= 0.98
    assert row.judged == JUDGE
    assert row.cosine >= 0.99
    assert row.same >= 0.95
    assert row.simulated is None or row.simulated >= 0.99
    rewritten = {note.partition(": ")[0] for note in row.rewrites}
    assert "Rewrote 1 x known lookups" in rewritten
    assert {one.partition(" ")[0] for one in row.left} <= {"Gather"}
    if target == "npu:rk3588":  # without them 12 of 128 layers are the CPU's
        assert {"Rewrote 6 x gelu", "Rewrote 1 x additive masks", "Rewrote 1 x free scale"} <= rewritten


SHORT, ROWS = 16, 20


@pytest.mark.parametrize("target", [HTP, RK3588])
def test_minilm_with_its_lookups_on_the_host(target: str, encoder: Subject, tmp_path: Path) -> None:
    """All of the rest is on the NPU, and both parts called as one give the vectors of the whole."""
    # The shortest, in turn to calibrate and to judge: some have masked tokens.
    shortest = sorted(encoder.calibrate, key=lambda feed: int(feed["attention_mask"].sum()))[:ROWS]
    feeds = [
        {name: array[:, :SHORT] for name, array in feed.items()} for feed in shortest[::2] + shortest[1::2]
    ]
    np.savez(
        tmp_path / "data.npz", **{name: np.concatenate([one[name] for one in feeds]) for name in feeds[0]}
    )
    part = encoder.program.parts["main"]
    bundle = edgepack.export(
        part.path, targets=target, precision=encoder.precision, host=["lookups"], out=tmp_path / "out",
        sizes={dim: 1 if dim == "batch" else SHORT for dim in part.signature.symbols}, measure=False,
        calibration=str(tmp_path / "data.npz"), calibration_samples=ROWS, gate={"cosine": 0.99},
        rewrite=["gelu", "free scale"] if "rk" in target else [],  # what its refusals ask for, at once
    )  # fmt: skip
    lookup, core = bundle.artifacts
    assert (lookup.part, lookup.run.session, lookup.precision) == ("lookup", "onnxruntime", "fp32")
    assert (core.part, core.placement.cpu, core.parity.passed) == ("core", 0, True)
    assert core.placement.accelerator > 100
    (program,) = bundle.manifest.programs
    assert program.rollout.passed
    with edgepack.open_program(bundle, target) as whole:
        (found,) = whole(feeds[-1]).values()
    (expected,) = onnxruntime.InferenceSession(part.path).run(None, feeds[-1])
    assert cosine(expected, found).min() >= 0.99


@pytest.fixture(scope="module")
def classifier(photos: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return efficientnet_on(photos, tmp_path_factory.mktemp("efficientnet"))


@pytest.mark.parametrize(
    ("target", "precision"),
    [
        pytest.param(*HTP.values, "int8-static", marks=HTP.marks),
        pytest.param(*RK3588.values, "int8-static", marks=RK3588.marks),
        pytest.param(*K230.values, "int8-static", marks=K230.marks),
    ],
)
def test_efficientnet(target: str, precision: str, classifier: Subject, tmp_path: Path) -> None:
    subject = classifier.on(precision)
    row = (subject.few(FEW) if target == "npu:k230" else subject).row(target, tmp_path)
    assert (row.placed, row.macs_share) == (row.operators, 1)
    assert row.cosine >= 0.99
