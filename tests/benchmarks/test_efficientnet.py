"""EfficientNet-Lite0's int8 artifacts on 320 crops of real photographs that no quantizer has seen."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import edgepack
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.program import Signature

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]
EXAMPLE = Path(__file__).parents[2] / "examples" / "efficientnet_lite0.py"
TARGETS = ("cpu:onnxruntime", "mobile:litert", "npu:ethos-u55-128")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return edgepack.export(
        f"{EXAMPLE}:model",
        out=tmp_path_factory.mktemp("lite0") / "b",
        targets=TARGETS,
        calibration=f"{EXAMPLE}:photos",
    )


@pytest.fixture(scope="module")
def crops():
    return list(runpy.run_path(str(EXAMPLE))["photos"](320, seed=1))  # calibration uses seed 0


@pytest.fixture(scope="module")
def reference(crops, tmp_path_factory):
    out = tmp_path_factory.mktemp("lite0") / "fp32"
    bundle = edgepack.export(
        f"{EXAMPLE}:model", out=out, targets="cpu:onnxruntime", precision="fp32", measure=False
    )
    return top1(bundle, bundle.artifacts[0], crops)


def top1(bundle, artifact, crops):
    facts = artifact.run
    signature = Signature.from_json(facts.signature)
    with sessions.get(facts.session)(bundle.file(facts.file), signature, threads=1) as session:
        return np.array([session.run(crop)[signature.outputs[0].name].argmax() for crop in crops])


@pytest.mark.parametrize("target", TARGETS)
def test_top1_and_speed(bundle, crops, reference, target):
    artifact = next(a for a in bundle.artifacts if a.target == target)
    share = float((top1(bundle, artifact, crops) == reference).mean())
    speed = artifact.comparison
    words = (
        f"{speed.ratio:.2f}x fp32 ({speed.ci_low:.2f} to {speed.ci_high:.2f})" if speed else "not timed here"
    )
    print(f"\n{target} {artifact.precision}: same top-1 {share:.1%} of {len(crops)} crops, {words}")
    assert artifact.precision == "int8-static"
    assert share >= 0.95
    assert speed is None or speed.verdict == "faster"
