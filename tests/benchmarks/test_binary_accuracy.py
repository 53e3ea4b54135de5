"""A binary network like a ResNet on all of Fashion-MNIST: accuracy, size, and speed against its float and int8 twins.

Printed as one JSON line. The twins have the same convolutions and no shortcuts, which makes them the faster ones.
Training takes about six minutes of one core with bfloat16 instructions, once, and goes on where it was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import edgepack
from edgepack.runtime.sessions.base import Session
from edgepack.runtime.sessions.onnxruntime import OnnxRuntimeSession
from edgepack.runtime.timing import measure_together
from edgepack.toolchain.bundle import Bundle
from edgepack.toolchain.program import Signature
from tests.trained import binary, fashion_mnist

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(7200),
    pytest.mark.system(fashion_mnist.PACKAGE),
]
ACCURACY, SMALLER = 88.0, 20
_NO_GATE = {"cosine": -1.0, "min_cosine": -1.0, "max_abs_error": 1e9}


def calibration() -> Iterator[dict[str, np.ndarray]]:
    """Training images, one a sample."""
    for image in fashion_mnist.load("train")[0][:256]:
        yield {"input": image[None]}


def exported(name: str, precision: str, out: Path) -> Bundle:
    """`twin` is not trained: what int8 makes of its outputs says nothing, so that no gate judges it."""
    return edgepack.export(
        f"{Path(binary.__file__)}:{name}",
        targets="cpu:onnxruntime",
        precision=precision,
        out=out / f"{name}-{precision}",
        calibration=f"{Path(__file__)}:calibration" if precision != "fp32" else None,
        gate=_NO_GATE if name == "twin" else {},
        measure=False,
    )


def opened(bundle: Bundle) -> Session:
    facts = bundle.artifacts[0].run
    assert facts is not None
    return OnnxRuntimeSession(bundle.file(facts.file), Signature.from_json(facts.signature))


def test_a_binary_network_is_accurate_small_and_fast(tmp_path):
    bundles = {
        "binary": exported("network", "fp32", tmp_path),
        "fp32": exported("twin", "fp32", tmp_path),
        "int8": exported("twin", "int8-static", tmp_path),
    }
    images, labels = fashion_mnist.load("test")
    opens = {name: opened(bundle) for name, bundle in bundles.items()}
    feeds = {name: {session.signature.inputs[0].name: images[:1]} for name, session in opens.items()}
    (taken,) = feeds["binary"]
    session = opens["binary"]
    logits = [next(iter(session.run({taken: image[None]}).values())) for image in images]
    accuracy = 100 * float((np.concatenate(logits).argmax(1) == labels).mean())
    sizes = {name: bundle.artifacts[0].size_bytes for name, bundle in bundles.items()}
    ratios = {}
    for other in ("fp32", "int8"):
        timed = measure_together(
            {name: partial(opens[name].run, feeds[name]) for name in (other, "binary")},
            other,
            threads=1,
            shapes={taken: [1, 1, 28, 28]},
            max_seconds=15.0,
        ).comparisons["binary"]
        ratios[other] = [round(value, 2) for value in (timed.ratio, timed.ci_low, timed.ci_high)]
    print("\n" + json.dumps({"accuracy": accuracy, "bytes": sizes, "speed": ratios}))
    assert accuracy >= ACCURACY
    assert sizes["binary"] * SMALLER <= sizes["fp32"]
    assert ratios["fp32"][1] > 1, "slower than float"
