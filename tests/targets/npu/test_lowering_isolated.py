"""The bars of real models on Qualcomm's HTP and Rockchip's RK3588, where the isolated environments have been made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepack.toolchain.vendors import qnn, rknn
from tests.targets.npu.lowered import JUDGE, Subject, efficientnet_on, minilm_on

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
    if target == "npu:rk3588":  # without them 12 of 128 layers are the CPU's
        assert {"Rewrote 6 x gelu", "Rewrote 1 x additive masks", "Rewrote 1 x free scale"} <= rewritten


@pytest.fixture(scope="module")
def classifier(photos: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return efficientnet_on(photos, tmp_path_factory.mktemp("efficientnet"))


@pytest.mark.parametrize(
    ("target", "precision"),
    [
        pytest.param(*HTP.values, "int8-static", marks=HTP.marks),
        pytest.param(*RK3588.values, "int16-static", marks=RK3588.marks),
    ],
)
def test_efficientnet(target: str, precision: str, classifier: Subject, tmp_path: Path) -> None:
    row = classifier.on(precision).row(target, tmp_path)
    assert (row.placed, row.macs_share) == (row.operators, 1)
    assert row.cosine >= 0.99
