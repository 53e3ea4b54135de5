"""How noisy every layer of a quantized ONNX file is, over many inputs: by itself, and with all before it.

With x the float graph's tensors, f a layer and q its quantized form,

    added        SQNR = 10 log10(sum |f(x)|^2 / sum |q(x) - f(x)|^2)        q is fed with the float graph's x
    accumulated  the same with q fed by the quantized layers before it

in dB, sums over all inputs and all elements of the layer's tensors. One graph computes all of them in one call: the
float graph, the quantized one, and the quantized one once more with every shared tensor replaced by the float
graph's. Of each call only the sums are kept, so that memory does not grow with the inputs. (Sums within the graph
would not let a call's tensors out either, but took ONNX Runtime twenty times as long to load.)
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.blame.pairing import Layer, adopt, computed, layers, prefix, taken_for
from edgepack.toolchain.blame.results import LayerNoise
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.program import Lowered, Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    Feed = Mapping[str, np.ndarray]
    Row = tuple[str, str, str]

NO_SIGNAL_DB = -300.0
"""What stands for the ratio of a layer that should give zeros and does not."""


def measure(
    float_file: Lowered, quantized: Path, feeds: Iterable[Feed], threads: int = 1
) -> list[LayerNoise]:
    """Noise of every layer, in graph order.

    Args:
        float_file: The float ONNX file.
        quantized: What a quantizer made of it.
        feeds: Inputs, one call after the other.
        threads: Threads within one operator.

    Raises:
        TargetError: The files share no tensor, or do not have the same operator set.
    """
    import numpy as np

    from edgepack.runtime.sessions.base import sessions
    from edgepack.toolchain.passes.storage import save

    with tempfile.TemporaryDirectory(prefix="edgepack-blame-") as folder:
        model, found, rows = _merged(float_file, quantized)
        path = save(model, Path(folder), "blame")
        del model
        outputs = tuple(TensorSpec(name, "float32", ()) for row in rows for name in row)
        signature = Signature(float_file.signature.inputs, outputs)
        total = np.zeros((len(rows), 3))
        with sessions.get("onnxruntime")(path, signature, threads=threads) as session:
            for feed in feeds:
                values = session.run(feed)
                total += [squares(*(values[name] for name in row)) for row in rows]
    return list(_noises(found, total))


def squares(reference: np.ndarray, *others: np.ndarray) -> list[float]:
    """The squared norm of a tensor, and of the distance of each other one to it.

    Equal infinities, as in masks, are no error, and count for nothing.
    """
    import numpy as np

    right = reference.astype(np.float64)
    sums = [float(np.square(right, where=np.isfinite(right), out=np.zeros_like(right)).sum())]
    for other in others:
        got = other.astype(np.float64)
        with np.errstate(invalid="ignore"):
            sums.append(float(np.square(np.where(right == got, 0.0, got - right)).sum()))
    return sums


def sqnr_db(signal: float, noise: float) -> float | None:
    """Signal-to-quantization-noise ratio from sums of squares; None without noise, or without finite sums."""
    if not (math.isfinite(signal) and math.isfinite(noise)) or noise <= 0:
        return None
    return 10.0 * math.log10(signal / noise) if signal > 0 else NO_SIGNAL_DB


def _noises(found: Sequence[Layer], total: np.ndarray) -> Iterator[LayerNoise]:
    row = 0
    for index, layer in enumerate(found):
        signal, added, accumulated = map(float, total[row : row + len(layer.tensors)].sum(axis=0))
        row += len(layer.tensors)
        yield LayerNoise(
            node=layer.name,
            op=layer.op,
            tensors=list(layer.tensors),
            index=index,
            added_db=sqnr_db(signal, added),
            accumulated_db=sqnr_db(signal, accumulated),
        )


def _merged(float_file: Lowered, quantized: Path) -> tuple[ir.Model, list[Layer], list[Row]]:
    """One graph with the float layers, their quantized forms alone, and those all together.

    Returns:
        The model, its layers, and for each of their tensors the three outputs that are to be compared.
    """
    import onnx_ir as ir

    model, alone, whole = ir.load(float_file.path), ir.load(quantized), ir.load(quantized)
    where = f"part {float_file.part}"
    if model.graph.opset_imports.get("", 0) != alone.graph.opset_imports.get("", 0):
        raise TargetError(
            "The quantized file has another operator set than the float one: they cannot run as one graph",
            where=where,
        )
    found = layers(float_file.path, alone.graph)
    if not found:
        raise TargetError("The quantized file shares no tensor with the float one", where=where)
    graph = model.graph
    own = computed(graph)
    inputs = {str(value.name): value for value in graph.inputs}
    results = [
        {n: taken_for(own[n], v) for n, v in computed(m.graph).items() if n in own} for m in (alone, whole)
    ]
    for other in (alone, whole):
        other.graph.outputs.clear()
    # The quantized form of each layer reads the float graph's tensors.
    for name, value in results[0].items():
        ir.convenience.replace_all_uses_with(value, own[name])
    for other, text in ((alone, "alone:"), (whole, "whole:")):
        prefix(other, text)
        adopt(graph, other, {f"{text}{name}": value for name, value in inputs.items()})
    for key, function in {**alone.functions, **whole.functions}.items():
        model.functions.setdefault(key, function)
    compared = [(own[name], results[0][name], results[1][name]) for layer in found for name in layer.tensors]
    graph.outputs.clear()
    for value in dict.fromkeys(value for row in compared for value in row):
        value.type = value.type or compared[0][0].type
        graph.outputs.append(value)
    graph.sort()
    return model, found, [(str(a.name), str(b.name), str(c.name)) for a, b, c in compared]
