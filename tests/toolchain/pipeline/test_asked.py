"""The bounds that an offer must hold."""

from pathlib import Path

import pytest

from edgepack.targets.base import Offer
from edgepack.toolchain.pipeline.asked import gate_of
from edgepack.toolchain.program import Part, Program, Signature, TensorSpec
from edgepack.toolchain.recipe import make

STATIC = Offer("int8-static", "onnx-static")


@pytest.mark.parametrize(
    ("output", "task", "offer", "bounded"),
    [
        (TensorSpec("logits", "float32", ("batch", 10)), "image-classification", STATIC, True),
        (TensorSpec("noise", "float32", ("batch", 4, 8, 8)), "image-classification", STATIC, False),
        (TensorSpec("ids", "int64", ("batch", 10)), "image-classification", STATIC, False),
        (TensorSpec("logits", "float32", ("batch", 10)), "video-decoding", STATIC, False),
        (TensorSpec("logits", "float32", ("batch", 10)), "image-classification", Offer("fp32"), False),
    ],
    ids=["classes", "map", "integers", "other-task", "float"],
)
def test_the_largest_class_is_asked_of_scores_of_classes(output, task, offer, bounded):
    part = Part("main", Path("main.onnx"), Signature((), (output,)))
    program = Program({"main": part}, source={"task": task})
    gate = gate_of(make(model="m"), program, part, None, offer)
    assert gate.get("top1") == (0.95 if bounded else None)
    asked = gate_of(make(model="m", gate={"top1": 0.5}), program, part, None, offer)
    assert asked.get("top1") == (0.5 if offer.quantizer else None), "what the user asks holds for every part"
