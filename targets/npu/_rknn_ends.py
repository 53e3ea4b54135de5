"""The two ends of a graph as Rockchip's NPUs take and give tensors: what is only conversion is the caller's there.

    x (integers) -> Cast -> f -> ...      becomes      x (float32) -> ...         the same number in another type
    ... -> [n, c, 1, 1] -> Reshape -> [n, c]    becomes    ... -> [n, c, 1, 1]    the same numbers in the same order

Inside the graph both are the CPU's: the NPU has no 64-bit integers, and stores channels in blocks, which a reshape of
channels that fill none (1000 of 8 bits in blocks of 16) takes apart. At its ends the chip's runtime converts types and
layouts anyway. An input that nothing reads any more is left out: the toolkit drops it, and counts samples without it.
The signature stays the model's; sessions convert, and the notes say what the `.rknn` takes and gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.passes.graphs import standard
from edgepack.toolchain.vendors import rknn

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.toolchain.program import Lowered

_IMAGE = 4


@dataclass(frozen=True)
class Ends:
    """A model as the toolkit is given it.

    Attributes:
        lowered: With the file to build; itself where nothing had to change.
        inputs: Names of the file's inputs in their order: those of the signature that anything reads.
        floats: Inputs that are float32 in the file and integers in the signature.
        notes: What of that a caller of the `.rknn` must know.
    """

    lowered: Lowered
    inputs: tuple[str, ...]
    floats: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def settle(lowered: Lowered, folder: Path) -> Ends:
    """The model without conversions at its ends, in `folder` with its samples where there were any.

    Args:
        lowered: All dimensions numbers; with samples beside it where it is quantized.
        folder: Written to only if something changes.
    """
    import onnx_ir as ir

    from edgepack.toolchain.passes.clean_up import clean_up
    from edgepack.toolchain.passes.storage import save

    model = ir.load(lowered.path)
    clean_up(model)  # which infers shapes
    floats, opened = float_inputs(model), open_outputs(model)
    given = [str(value.name) for value in model.graph.inputs]
    unread = [value for value in model.graph.inputs if not value.uses() and not value.is_graph_output()]
    for value in unread:
        model.graph.inputs.remove(value)
    inputs = tuple(str(value.name) for value in model.graph.inputs)
    if not floats and not opened and not unread:
        return Ends(lowered, inputs)
    path = save(model, folder, lowered.part)
    samples = lowered.path.with_name(rknn.SAMPLES_FILE)
    if samples.is_file():
        columns = [given.index(name) for name in inputs]
        _convert(samples, columns, [name in floats for name in inputs], folder / samples.name)
    notes = [f"the .rknn does not take {value.name}: nothing in it reads it" for value in unread]
    notes += [f"the .rknn takes {name} as float32: the same numbers" for name in floats]
    notes += [f"the .rknn gives {name} as {list(shape)}: the same numbers in the same order"
              for name, shape in opened.items()]  # fmt: skip
    return Ends(replace(lowered, path=path), inputs, tuple(floats), tuple(notes))


def float_inputs(model: ir.Model) -> list[str]:
    """Let inputs of integers that are only cast to float32 come as that, in place; their names."""
    import onnx_ir as ir

    found = []
    for value in model.graph.inputs:
        casts = [use.node for use in value.uses()]
        if (
            value.dtype is None
            or not value.dtype.is_integer()
            or not casts
            or value.is_graph_output()
            or any(
                not standard(node, "Cast")
                or node.attributes.get_int("to", 0) != ir.DataType.FLOAT
                or node.outputs[0].is_graph_output()
                for node in casts
            )
        ):
            continue
        for node in casts:
            ir.convenience.replace_all_uses_with(node.outputs[0], value)
            model.graph.remove(node, safe=True)
        value.type = ir.TensorType(ir.DataType.FLOAT)
        found.append(str(value.name))
    return found


def open_outputs(model: ir.Model) -> dict[str, tuple[int, ...]]:
    """Take the last change of layout from one pixel of channels to a row away, in place; what comes out by name."""
    found = {}
    for index, value in enumerate(model.graph.outputs):
        node = value.producer()
        image = (
            node.inputs[0] if node is not None and standard(node, "Reshape", "Flatten", "Squeeze") else None
        )
        if node is None or image is None or image.shape is None or value.shape is None or value.uses():
            continue
        shape, row = tuple(image.shape), tuple(value.shape)
        if (
            len(shape) != _IMAGE
            or shape[2:] != (1, 1)
            or row != shape[:2]
            or image.is_graph_output()
            or image.is_graph_input()
            or len(list(image.uses())) != 1
        ):
            continue
        name = str(value.name)
        model.graph.outputs[index] = image
        model.graph.remove(node, safe=True)
        value.name = f"{name}/row"
        image.name = name
        found[name] = tuple(int(size) for size in shape)  # type: ignore[arg-type]
    return found


def _convert(samples: Path, columns: Sequence[int], floats: Sequence[bool], path: Path) -> None:
    """Some columns of the samples, of them some in float32."""
    import numpy as np

    with np.load(samples, allow_pickle=False) as arrays:
        kept = [arrays[f"arr_{index}"] for index in columns]
    np.savez(path, *(one.astype(np.float32) if wide else one for one, wide in zip(kept, floats, strict=True)))
