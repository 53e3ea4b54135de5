"""Histograms of activations in fixed memory, while their range is still growing.

The bins of a histogram cut [-R, R] into equal parts, R a power of two. A value beyond R doubles R until it fits; each
doubling merges pairs of bins without splitting any, so that the counts at the end are those that a histogram with
the final R would have made of all values at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.quantize._onnx_observe import observe
from edgepack.toolchain.errors import TargetError

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.quantize.base import Feeds

HALF = 4096
"""Bins on either side of zero."""

_CHUNK = 1 << 20  # values counted at a time


class Histogram:
    """Counts of the values of one tensor.

    Attributes:
        low: Smallest value seen.
        high: Largest value seen.
        reach: R.
        counts: float64 [2 * HALF]; bin HALF begins at zero.
    """

    def __init__(self) -> None:
        import numpy as np

        self.low, self.high = float("inf"), float("-inf")
        self.reach = 0.0
        self.counts = np.zeros(2 * HALF)

    @property
    def width(self) -> float:
        """Of a bin."""
        return self.reach / HALF

    @property
    def centers(self) -> np.ndarray:
        """The middle of every bin, float64 [2 * HALF]."""
        import numpy as np

        return (np.arange(2 * HALF) - HALF + 0.5) * self.width

    def add(self, values: np.ndarray) -> None:
        """Count values, all of them finite."""
        import numpy as np

        flat = values.reshape(-1)
        if not flat.size:
            return
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        self._grow(max(-self.low, self.high))
        if not self.reach:
            self.counts[HALF] += flat.size
            return
        for start in range(0, flat.size, _CHUNK):
            bins = np.floor(flat[start : start + _CHUNK].astype(np.float64) / self.width).astype(np.int64)
            bins += HALF
            np.clip(bins, 0, 2 * HALF - 1, out=bins)  # R itself belongs to the last bin
            self.counts += np.bincount(bins, minlength=2 * HALF)

    def _grow(self, peak: float) -> None:
        import math

        import numpy as np

        if peak <= self.reach or peak <= 0:
            return
        wanted = 2.0 ** math.ceil(math.log2(peak))
        wanted = wanted if wanted >= peak else 2 * wanted
        if not self.reach:  # all values so far were zero, and have the bin that begins there
            self.reach = wanted
        while self.reach < wanted:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(2 * HALF)
            self.counts[HALF // 2 : HALF // 2 + HALF] = pairs
            self.reach *= 2


def histograms(path: Path, tensors: Sequence[str], samples: Iterable[Feeds]) -> dict[str, Histogram]:
    """A histogram of every tensor over all samples.

    Memory is that of the histograms and of one sample's tensors.

    Args:
        path: The float model.
        tensors: Names of its float activations.
        samples: Inputs of the model by name.

    Raises:
        UsageError: There is no sample, or one holds NaN.
        TargetError: The model does not run on a sample, or a tensor is not finite.
    """
    import numpy as np

    found = {name: Histogram() for name in tensors}
    for seen in observe(path, tensors, _whole, samples):
        for name, values in seen.items():
            if not np.isfinite(values).all():
                raise TargetError(
                    f"The tensor '{name}' is not finite on the calibration data",
                    where=str(path),
                    todo="Look at the samples, and for a mask made of infinities in the model",
                )
            found[name].add(values)
    return found


def _whole(value: ir.Value, version: int) -> Sequence[tuple[str, Sequence[ir.Node]]]:
    """Probe: the tensor itself."""
    import onnx_ir as ir

    del version
    return [(str(value.name), [ir.node("Identity", [value])])]
