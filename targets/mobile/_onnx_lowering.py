"""From an ONNX part to a `.tflite` file by the converter of edgepack's own: the route of models that come as .onnx.

No process of its own is needed: nothing of the model's code runs, and weights are read one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.program import Lowered, Part, Signature, TensorSpec
from edgepack.toolchain.quantized import AS_GIVEN, already_quantized

if TYPE_CHECKING:
    import onnx_ir as ir

Change = Callable[["ir.Model"], Sequence[str]]
"""Changes a graph in place before it is converted, and says what it did."""

MODEL_FILE = "model.tflite"


def lower(
    part: Part,
    inputs: Sequence[TensorSpec],
    sizes: Mapping[str, int],
    folder: Path,
    change: Change = lambda _: (),
    examples: Mapping[str, int] | None = None,
) -> Lowered:
    """Convert one part, in float or with QuantizeLinear and DequantizeLinear, to `.tflite`.

    Args:
        part: The part; its graph stays as it is.
        inputs: The part's, their named dimensions replaced by `sizes`; a name that is left is open in the file.
            Dimensions of outputs may have names of their own, which follow from the graph.
        sizes: Size of every named dimension that is not open.
        folder: Receives the file.
        change: Called with the graph first; what it says becomes the first notes.
        examples: Sizes of open dimensions that a runtime plans for until a call has others.

    Returns:
        The file; its precision is `AS_GIVEN` when the part is quantized already.

    Raises:
        TargetError: An operator, type or shape has no translation; the node and a cure are named.
        SourceError: The graph contradicts itself, or a weight cannot be read.
    """
    from edgepack.targets.mobile._tflite.convert import convert

    folder.mkdir(parents=True, exist_ok=True)
    path, model = folder / MODEL_FILE, part.model()
    quantized = already_quantized(model) is not None
    said = change(model)
    done = convert(model, path, sizes=sizes, examples=examples)
    shapes = {spec.name: spec.shape for spec in inputs}
    outputs = [
        TensorSpec(spec.name, spec.dtype, _named(done.outputs[spec.name], spec.shape))
        for spec in part.signature.outputs
    ]
    notes = [
        *said,
        *(layout_note(name, [shapes[name][axis] for axis in (0, 2, 3, 1)]) for name in done.channels_last),
    ]
    notes += [f"{count} computed in float, {reason}" for reason, count in sorted(done.in_float.items())]
    precision = AS_GIVEN if quantized else "fp32"
    return Lowered(
        part.name, "tflite", path, Signature(tuple(inputs), tuple(outputs)), precision, notes=tuple(notes)
    )


def _named(shape: Sequence[int], names: Sequence[int | str]) -> tuple[int | str, ...]:
    """What the file has, and where that is open what the part calls it."""
    return tuple(name if size < 0 else size for size, name in zip(shape, names, strict=True))


def layout_note(name: str, shape: Sequence[int | str]) -> str:
    """What the report says of an image that lies in another order in the file."""
    sizes = ",".join(map(str, shape))
    return f"The input '{name}' is channels-last in the file: [{sizes}]; edgepack's sessions transpose it themselves"
