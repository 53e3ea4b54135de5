"""A graph's files for ncnn, by the translation: layers, weights, and what inputs and outputs are called."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edgepack.targets.mobile._ncnn import (  # noqa: F401 - they file operators
    arithmetic,
    lookups,
    moves,
    norms,
    pictures,
    products,
)
from edgepack.targets.mobile._ncnn.layers import MOST
from edgepack.targets.mobile._ncnn.translation import Translation, shape_of
from edgepack.toolchain.vendors import ncnn

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir


def write(graph: ir.Graph, part: str, counts: tuple[int, int], param: Path) -> None:
    """Translate a graph, and write `<part>.param`, `.bin` and `.json`.

    Args:
        graph: In floating point, of fixed shapes that are all known.
        part: Its name, for messages.
        counts: Multiplications as of `Blobs`.
        param: The `.param` file.

    Raises:
        TargetError: An operator, or what it is told, has no layer.
    """
    translation = Translation(graph, part)
    ends = translation.run()
    network = translation.layers.network(ends)
    network.write(param)
    read = {layer.outputs[0] for layer in network if layer.kind == "Input"}
    inputs = {}
    for value in graph.inputs:
        sides = translation.inputs.get(value.name or "", {})
        used = {dtype: tensor.blob for dtype, tensor in sides.items() if tensor.blob in read}
        if used:
            dtype = min(used, key=("int32", "float32").index)
            twin = used["float32"] if len(used) > 1 else None
            inputs[value.name or ""] = ncnn.Blob(used[dtype], _batch(value), dtype, twin)
    outputs = {
        value.name or "": ncnn.Blob(f"out{index}", _batch(value)) for index, value in enumerate(graph.outputs)
    }
    blobs = ncnn.Blobs(inputs, outputs, counts)
    param.with_suffix(".json").write_text(json.dumps(blobs.to_json(), indent=1))


def _batch(value: ir.Value) -> int:
    """The axis that an input or output lies without: one of length 1 of five."""
    shape = shape_of(value)
    return ncnn.WHOLE if len(shape) <= MOST else shape.index(1)
