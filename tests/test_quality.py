"""Accuracy on real images that a trained network never saw: int8 must keep it, by two ways of counting.

`make bench-quality` does the same for larger networks, for every form, and for a decoder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgepack
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.program import Signature
from tests.trained import fashion_mnist, vision

pytestmark = [pytest.mark.slow, pytest.mark.system(fashion_mnist.PACKAGE)]
TARGETS = ("cpu:onnxruntime", "mobile:litert")
ALLOWED = 0.005


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    source = Path(vision.__file__)
    return edgepack.export(
        f"{source}:small",
        out=tmp_path_factory.mktemp("small") / "bundle",
        targets=TARGETS,
        precision="int8-static",
        calibration=f"{source}:images",
        metric=f"python:{source}:accuracy",
        gate={"metric": 1 - ALLOWED},
        measure=False,
    )


@pytest.mark.parametrize("target", TARGETS)
def test_int8_keeps_the_accuracy(bundle, target):
    (artifact,) = [artifact for artifact in bundle.artifacts if artifact.target == target]
    assert artifact.precision == "int8-static"
    assert artifact.changed_nodes
    metric = artifact.parity.metric
    assert metric.reference > 0.8
    assert metric.value >= metric.reference - ALLOWED
    # The file in the bundle, run here, gets as many right as the metric says.
    images, labels = (values[: vision.JUDGING] for values in fashion_mnist.load("test"))
    facts = artifact.run
    signature = Signature.from_json(facts.signature)
    with sessions.get(facts.session)(bundle.file(facts.file), signature, threads=1) as session:
        (name,) = (spec.name for spec in signature.outputs)
        classes = [int(session.run({"images": image[None]})[name].argmax()) for image in images]
    assert np.mean(np.array(classes) == labels) == pytest.approx(metric.value, abs=1e-9)
