"""`convert`: an ONNX model, in float or with QuantizeLinear and DequantizeLinear, to a `.tflite` file.

    prepare      sizes pinned, constants computed, operators joined          (ONNX)
    lowering     one small function for each node                            (ONNX -> TFLite)
    passes       transposes pushed together and cancelled, leftovers dropped (TFLite)
    writer       the file, weights streamed

No framework is asked: the file is made of the graph and its weights alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.targets.mobile._tflite import writer
from edgepack.targets.mobile._tflite.lowering import Lowering
from edgepack.targets.mobile._tflite.prepare import prepare

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Conversion:
    """What came out.

    Attributes:
        operators: How many of each TFLite operator.
        outputs: Dimensions of each output, -1 for an open one.
        channels_last: Inputs that are [N, C, H, W] in ONNX and [N, H, W, C] in the file.
        in_float: Why operators between quantized tensors are computed in float: reason -> how many.
    """

    operators: Mapping[str, int]
    outputs: Mapping[str, tuple[int, ...]]
    channels_last: tuple[str, ...]
    in_float: Mapping[str, int]


def convert(
    model: ir.Model,
    path: Path,
    *,
    sizes: Mapping[str, int] | None = None,
    examples: Mapping[str, int] | None = None,
    channels_last: bool = True,
    inline_limit: int = writer.INLINE_LIMIT,
) -> Conversion:
    """Write a model as `.tflite`.

    Args:
        model: The graph, which is changed; its weights stay where they are mapped from.
        path: The file to write.
        sizes: Sizes of named dimensions. Those without one stay for callers to choose, where every operator that
            meets them can do without the number.
        examples: Sizes of open dimensions that a runtime plans for until it is told others.
        channels_last: Whether images that go straight into convolutions are taken as [N, H, W, C]; the file says
            so in its note (`toolchain.tflite.CHANNELS_LAST`).
        inline_limit: As for `writer.write`.

    Returns:
        What was made.

    Raises:
        NotServed: An operator, type or shape that TFLite or this converter does not have; the node is named.
        SourceError: The graph contradicts itself, or a weight cannot be read.
        OSError: The file cannot be written.
    """
    from edgepack.targets.mobile._tflite.passes import simplify

    prepare(model, sizes or {})
    lowering = Lowering(model, examples)
    graph = lowering.run()
    simplify(graph, channels_last=channels_last)
    writer.write(graph, path, inline_limit=inline_limit)
    return Conversion(
        operators=Counter(operator.code for operator in graph.operators),
        outputs={name: tensor.shape for name, tensor in graph.outputs.items()},
        channels_last=tuple(graph.channels_last),
        in_float=lowering.in_float,
    )
