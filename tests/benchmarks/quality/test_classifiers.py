"""Accuracy on Fashion-MNIST's test images of every form that the targets offer, against fp32."""

from pathlib import Path

import numpy as np
import pytest

from edgepack.targets.base import targets
from tests.benchmarks.quality.forms import forms, opened, speed
from tests.benchmarks.quality.paired import accuracy_difference
from tests.benchmarks.quality.rows import Row
from tests.trained import fashion_mnist, vision

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(7200),
    pytest.mark.system(fashion_mnist.PACKAGE),
]
SOURCE = Path(vision.__file__)
TITLES = {"cnn": "CNN", "vit": "ViT"}
# One target stands for those that share its numerics: every Ethos-U runs the same quantized TFLite files.
TARGETS = [
    name
    for name in ("cpu:onnxruntime", "cpu:openvino", "mobile:litert", "npu:ethos-u85-512")
    if name in targets and not targets.get(name)().missing()
]
SLOW_KERNELS = 2000
"""How many images are judged where LiteRT runs its reference kernels, a hundred times slower than XNNPACK."""
ALLOWED_POINTS = 0.5


def right(form, images, labels):
    """Which images a form gets right, bool [n]."""
    with opened(form) as (session, signature):
        taken, given = signature.inputs[0].name, signature.outputs[0].name
        logits = [session.run({taken: image[None]})[given][0] for image in images]
    return np.argmax(logits, axis=1) == labels


@pytest.mark.parametrize("name", TITLES)
def test_int8_keeps_the_accuracy(name, table, tmp_path):
    images, labels = fashion_mnist.load("test")
    floats, reference, lost = {}, None, {}
    for form in forms(f"{SOURCE}:{name}", TARGETS, tmp_path, calibration=f"{SOURCE}:images"):
        if form.precision == "fp32":
            floats[form.target] = form
        slow = form.precision == "int16x8-static" or form.target.startswith("npu:")
        count = SLOW_KERNELS if slow else len(images)
        got = right(form, images[:count], labels[:count])
        if reference is None:
            assert (form.target, form.precision) == (TARGETS[0], "fp32")
            reference = got
        known = reference[:count]
        row = Row(
            model=TITLES[name],
            measure="accuracy",
            target=form.target,
            precision=form.precision,
            judged=count,
            fp32=100 * float(known.mean()),
            value=100 * float(got.mean()),
            change=accuracy_difference(known, got),
            nodes=form.nodes,
            size_bytes=form.size_bytes,
            speed=speed(floats.get(form.target), form, "main", lambda s: {s.inputs[0].name: images[:1]}),
            chosen=form.chosen,
        )
        print(f"\n{row}")
        table.append(row)
        if form.may_ship and form.nodes:
            lost[form.target, form.precision] = row.change.value
    assert {target for target, _ in lost} >= {target for target in TARGETS if target not in floats}
    assert lost, "nothing quantized passed its gate"
    assert min(lost.values()) >= -ALLOWED_POINTS, lost
