"""Second moments of what matrix products read, for methods that weigh a weight's error by its input.

For inputs x of a product (rows over all samples and positions) and weights W, W' before and after rounding:

    sum |x W' - x W|^2 = tr(D^T G D),        D = W' - W,   G = sum x^T x

so that G, of a size that no number of samples changes, replaces the inputs themselves. It is computed inside
the graph, and for a few tensors at a time, so that all of them together stay below `BUDGET`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.quantize._onnx_observe import Probe, observe, reduce_nodes

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.quantize.base import Feeds

BUDGET = 512 << 20
"""Bytes that the moments of one run through the samples may take."""

_BYTES = 12  # of an element: the total in float64, one sample's in float32


@dataclass(frozen=True)
class Moments:
    """Sums over all rows of the K channels of a tensor.

    Attributes:
        gram: Of x^T x, float64 [K, K].
        magnitude: Of |x|, float64 [K].
    """

    gram: np.ndarray
    magnitude: np.ndarray


def moments(
    path: Path, widths: Mapping[str, int], samples: Iterable[Feeds], budget: int = BUDGET
) -> Iterator[tuple[str, Moments]]:
    """Moments of every tensor, batch by batch; the samples are run once for every batch.

    Args:
        path: The float model.
        widths: Names of tensors, and how many channels their last axis has.
        samples: Inputs of the model by name; can be iterated over again.
        budget: Bytes for the matrices of a batch; one tensor is always taken.

    Raises:
        UsageError: There is no sample, or one holds NaN.
        TargetError: The model does not run on a sample.
    """
    for batch in _batches(widths, budget):
        totals: dict[str, np.ndarray] = {}
        for seen in observe(path, batch, _probe(batch), samples):
            for name, value in seen.items():
                if name in totals:
                    totals[name] += value
                else:
                    totals[name] = value.astype("float64")
        for name in batch:
            yield name, Moments(totals.pop(f"{name}:gram"), totals.pop(f"{name}:magnitude"))


def _batches(widths: Mapping[str, int], budget: int) -> Iterator[dict[str, int]]:
    batch: dict[str, int] = {}
    used = 0
    for name, width in widths.items():
        size = _BYTES * width * width
        if batch and used + size > budget:
            yield batch
            batch, used = {}, 0
        batch[name] = width
        used += size
    if batch:
        yield batch


def _probe(widths: Mapping[str, int]) -> Probe:
    def probe(value: ir.Value, version: int) -> Sequence[tuple[str, Sequence[ir.Node]]]:
        import numpy as np
        import onnx_ir as ir

        name = str(value.name)
        shape = ir.node("Constant", [], {"value": ir.Tensor(np.array([-1, widths[name]], np.int64))})
        flat = ir.node("Reshape", [value, shape.outputs[0]])
        turned = ir.node("Transpose", [flat.outputs[0]], {"perm": [1, 0]})
        gram = ir.node("MatMul", [turned.outputs[0], flat.outputs[0]])
        return [
            (f"{name}:gram", [shape, flat, turned, gram]),
            (f"{name}:magnitude", reduce_nodes("ReduceL1", flat.outputs[0], version, [0])),
        ]

    return probe
