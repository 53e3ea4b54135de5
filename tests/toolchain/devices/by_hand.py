"""A bundle of one part written by hand: any ONNX file, without an exporter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx.helper import tensor_dtype_to_np_dtype

from edgepack.runtime import environment
from edgepack.toolchain.bundle_writer import BundleWriter
from edgepack.toolchain.parity import FLOAT_GATE
from edgepack.toolchain.pipeline import recording
from edgepack.toolchain.program import Signature, TensorSpec
from edgepack.toolchain.results import (
    ArtifactResult,
    Manifest,
    Parity,
    Placement,
    RunFacts,
    SourceFacts,
    Tool,
)

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.bundle import Bundle

    Arrays = Mapping[str, np.ndarray]
TARGET = "cpu:onnxruntime"


def write(out: Path, model: onnx.ModelProto, feeds: Sequence[Arrays], reference: Sequence[Arrays]) -> Bundle:
    """Write the bundle; the calls are the artifact's recorded cases."""
    graph = model.graph
    constants = {one.name for one in graph.initializer}
    signature = Signature(
        tuple(spec(value) for value in graph.input if value.name not in constants),
        tuple(spec(value) for value in graph.output),
    )
    sound = Parity(passed=True, gate=dict(FLOAT_GATE))
    with BundleWriter(out) as writer:
        onnx.save(model, writer.folder / "main.onnx")
        recording.write_calls(writer.folder / "main.npz", list(zip(feeds, reference, strict=True)))
        run = RunFacts(
            session="onnxruntime", file="main.onnx", signature=asdict(signature), cases="main.npz",
            gate=dict(FLOAT_GATE),
        )  # fmt: skip
        artifact = ArtifactResult(
            target=TARGET, part="main", precision="fp32", files=["main.onnx"], size_bytes=1, parity=sound,
            placement=Placement(accelerator=0, cpu=1), tool=Tool(name="onnxruntime", version="1"), run=run,
        )  # fmt: skip
        return writer.commit(
            Manifest(
                edgepack="0", bundle=str(out), created="", command="", recipe={}, artifacts=[artifact],
                source=SourceFacts(kind="onnx", location="by hand", fingerprint=""), programs=[],
                environment=environment.capture(1, spinning=False),
            )
        )  # fmt: skip


def spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """A value of a graph as a signature has it."""
    kind = value.type.tensor_type
    shape = tuple(
        dim.dim_param or dim.dim_value or f"{value.name}_{axis}" for axis, dim in enumerate(kind.shape.dim)
    )
    return TensorSpec(value.name, str(tensor_dtype_to_np_dtype(kind.elem_type)), shape)
