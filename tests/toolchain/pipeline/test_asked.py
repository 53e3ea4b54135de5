"""What an offer's quantizer is told, and the bounds that it must hold."""

from pathlib import Path

import onnx
import onnx.parser
import pytest

from edgepack.quantize.base import quantizers
from edgepack.targets.base import Offer
from edgepack.toolchain.metrics import read_metric
from edgepack.toolchain.pipeline.asked import asked_options, gate_of
from edgepack.toolchain.program import Part, Program, Signature, StateLink, TensorSpec
from edgepack.toolchain.recipe import make

STATIC = Offer("int8-static", "onnx-static")
OWN = read_metric("perplexity")


@pytest.mark.parametrize(
    ("output", "task", "offer", "bounded"),
    [
        (TensorSpec("logits", "float32", ("batch", 10)), "image-classification", STATIC, True),
        (TensorSpec("noise", "float32", ("batch", 4, 8, 8)), "image-classification", STATIC, False),
        (TensorSpec("seen", "bool", ("batch", 10)), "image-classification", STATIC, False),
        (TensorSpec("logits", "float32", ("batch", 10)), "video-decoding", STATIC, False),
        (TensorSpec("logits", "float32", ("batch", 10)), "image-classification", Offer("fp32"), False),
    ],
    ids=["classes", "map", "truth", "other-task", "float"],
)
def test_the_largest_class_is_asked_of_scores_of_classes(output, task, offer, bounded):
    part = Part("main", Path("main.onnx"), Signature((), (output,)))
    program = Program({"main": part}, source={"task": task})
    gate = gate_of(make(model="m"), program, part, None, offer)
    assert gate.get("top1") == (0.95 if bounded else None)
    asked = gate_of(make(model="m", gate={"top1": 0.5}), program, part, None, offer)
    assert asked.get("top1") == (0.5 if offer.quantizer else None), "what the user asks holds for every part"


CHOOSING = """<ir_version: 8, opset_import: ["" : 17]> g (float[batch,10] x) => (int64[batch,1] ids, int64[2] sizes) {
  ids = ArgMax <axis = 1> (x)
  sizes = Shape (x)
}"""


def test_indices_that_the_part_chooses_are_asked_for_as_choices(tmp_path):
    onnx.save(onnx.parser.parse_model(CHOOSING), tmp_path / "main.onnx")
    outputs = (TensorSpec("ids", "int64", ("batch", 1)), TensorSpec("sizes", "int64", (2,)))
    part = Part("main", tmp_path / "main.onnx", Signature((), outputs))
    program = Program({"main": part}, source={})
    for metric, asked, bound in (
        (None, {}, 0.95),
        (None, {"argmax:ids": 0.8, "topk:other": 1.0}, 0.8),
        (OWN, {}, 0.0),
    ):
        gate = gate_of(make(model="m", gate=asked), program, part, metric, STATIC)
        assert {name: limit for name, limit in gate.items() if ":" in name} == {"argmax:ids": bound}
    assert "argmax:ids" not in gate_of(make(model="m"), program, part, None, Offer("fp32"))


@pytest.mark.parametrize("quantizer", ["onnx-static", "qnn-qdq"])
def test_a_part_with_states_keeps_the_extremes_of_all_its_moments_unless_another_way_is_asked_for(quantizer):
    state = TensorSpec("state", "float32", (1, 3))
    step, main = (
        Part(name, Path(f"{name}.onnx"), Signature((state,), (TensorSpec("next_state", "float32", (1, 3)),)))
        for name in ("step", "main")
    )
    program = Program({"step": step, "main": main}, (StateLink("step", "next_state", "step", "state"),))
    told = {
        "recipe": make(model="m"),
        "program": program,
        "quantizer": quantizers.get(quantizer)(),
        "target": "t",
    }
    offer = Offer("int8-static", quantizer)
    assert asked_options(part="step", offer=offer, **told) == {"ranges": "min-max"}
    assert asked_options(part="main", offer=offer, **told) == {}
    offered = Offer("int8-static", quantizer, {"ranges": "mean"})
    assert asked_options(part="step", offer=offered, **told) == {"ranges": "mean"}
    told["recipe"] = make(model="m", quantize={"ranges": "middle"}, precision="int8-static")
    assert asked_options(part="step", offer=offered, **told) == {"ranges": "middle"}
