"""A bundle of two parts with a state between them, written by hand: no exporter, no torch.

    start: s = 3 x                  step: y = s + x, s' = y

The first state of step, for who calls it first, is 7.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, save

from edgepack.runtime import environment
from edgepack.toolchain.bundle_writer import BundleWriter
from edgepack.toolchain.parity import FLOAT_GATE
from edgepack.toolchain.pipeline import recording
from edgepack.toolchain.program import Signature, StateLink, TensorSpec
from edgepack.toolchain.results import (
    ArtifactResult,
    Manifest,
    Parity,
    Placement,
    ProgramResult,
    RunFacts,
    SourceFacts,
    Tool,
)

if TYPE_CHECKING:
    from edgepack.toolchain.bundle import Bundle

TARGET = "cpu:onnxruntime"
CALLS = ["step", "start", "step", "step"]
LINKS = [StateLink("start", "s", "step", "state"), StateLink("step", "next", "step", "state")]


def spec(name: str) -> TensorSpec:
    return TensorSpec(name, "float32", (1, 4))


SIGNATURES = {
    "start": Signature((spec("x"),), (spec("s"),)),
    "step": Signature((spec("x"), spec("state")), (spec("y"), spec("next"))),
}


def nodes(part: str) -> list[Any]:
    if part == "start":
        return [helper.make_node("Add", ["x", "x"], ["t"]), helper.make_node("Add", ["t", "x"], ["s"])]
    return [helper.make_node("Add", ["state", "x"], ["y"]), helper.make_node("Identity", ["y"], ["next"])]


def write(out: Path) -> Bundle:
    """Write the bundle."""
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    cases = {
        "start": [({"x": x}, {"s": 3 * x}), ({"x": x + 1}, {"s": 3 * x + 3})],
        "step": [
            ({"x": x, "state": x}, {"y": 2 * x, "next": 2 * x}),
            ({"x": x, "state": 0 * x}, {"y": x, "next": x}),
        ],
    }
    # 7 + x from the first state; then start's 3 x, and x twice more.
    row = [
        ({"x": x}, {"y": x + 7}),
        ({"x": x}, {"s": 3 * x}),
        ({"x": x}, {"y": 4 * x}),
        ({"x": x}, {"y": 5 * x}),
    ]
    sound = Parity(passed=True, gate=dict(FLOAT_GATE))
    with BundleWriter(out) as writer:
        artifacts = []
        for part, signature in SIGNATURES.items():
            sides = [
                [helper.make_tensor_value_info(s.name, TensorProto.FLOAT, list(s.shape)) for s in specs]
                for specs in (signature.inputs, signature.outputs)
            ]
            graph = helper.make_graph(nodes(part), part, *sides)
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
            save(model, writer.folder / f"{part}.onnx")
            recording.write_calls(writer.folder / f"{part}.npz", cases[part])
            run = RunFacts(
                session="onnxruntime", file=f"{part}.onnx", signature=asdict(signature), cases=f"{part}.npz",
                gate=dict(FLOAT_GATE),
            )  # fmt: skip
            artifacts.append(
                ArtifactResult(
                    target=TARGET, part=part, precision="fp32", files=[f"{part}.onnx"], size_bytes=1, parity=sound,
                    placement=Placement(accelerator=0, cpu=2), tool=Tool(name="onnxruntime", version="1"), run=run,
                )
            )  # fmt: skip
        np.savez(writer.folder / "states.npz", **{"step/state": np.full((1, 4), 7, np.float32)})
        recording.write_calls(writer.folder / "row.npz", row)
        program = ProgramResult(
            target=TARGET, parts=list(SIGNATURES), links=[asdict(link) for link in LINKS], initial="states.npz",
            rollout=sound, cases="row.npz", calls=CALLS,
        )  # fmt: skip
        return writer.commit(
            Manifest(
                edgepack="0", bundle=str(out), created="", command="", recipe={}, artifacts=artifacts,
                source=SourceFacts(kind="onnx", location="by hand", fingerprint=""), programs=[program],
                environment=environment.capture(1, spinning=False),
            )
        )  # fmt: skip
