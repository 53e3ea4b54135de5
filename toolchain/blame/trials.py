"""The outputs of a quantized artifact when some of its layers stay float: one trial a set of layers.

An ONNX file has its layers put back (`mixing.py`), which takes no calibration. A TFLite file is quantized anew, with
at most `CALIBRATION` of the samples.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.quantize.base import CalibrationData
from edgepack.quantize.data import fit
from edgepack.toolchain import parity
from edgepack.toolchain.blame import mixing
from edgepack.toolchain.blame.opening import Opened
from edgepack.toolchain.blame.results import LayerNoise
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.results import Parity

if TYPE_CHECKING:
    import numpy as np

    Feeds = Sequence[Mapping[str, np.ndarray]]

Trial = Callable[[Sequence[LayerNoise]], Parity]
CALIBRATION = 32


@dataclass(frozen=True)
class Bench:
    """What trials are judged by.

    Attributes:
        feeds: Held-out inputs.
        reference: The fp32 program's outputs for them.
        gate: The artifact's bounds.
        reference_name: What made the reference.
        data: Which inputs these are.
        threads: Threads within one operator.
    """

    feeds: Feeds
    reference: Feeds
    gate: Mapping[str, float]
    reference_name: str
    data: str
    threads: int

    def judge(self, session: str, path: Path, opened: Opened) -> Parity:
        """A file's outputs by the artifact's gate."""
        lowered = opened.candidate.lowered
        assert lowered is not None  # noqa: S101 - an opened artifact was built
        got = judging.run(session, path, lowered.signature, self.feeds, self.threads)
        return parity.compare(
            self.reference,
            got,
            self.gate,
            also=("top1", "neighbours"),
            reference_name=self.reference_name,
            data=self.data,
        )


def onnx_trial(opened: Opened, bench: Bench) -> Trial:
    """Trials of an ONNX file."""
    from edgepack.toolchain.passes.storage import save

    lowered = opened.candidate.lowered
    assert lowered is not None  # noqa: S101 - an opened artifact was built

    def trial(kept: Sequence[LayerNoise]) -> Parity:
        names = [name for layer in kept for name in layer.tensors]
        with tempfile.TemporaryDirectory(prefix="edgepack-blame-") as folder:
            model = mixing.mixed(opened.base.path, lowered.path, names)
            path = save(model, Path(folder), "mixed")
            return bench.judge(opened.target.session, path, opened)

    return trial


def tflite_trial(opened: Opened, bench: Bench) -> Trial:
    """Trials of a TFLite file."""
    quantizer = opened.quantizer
    data: CalibrationData | None = None
    if quantizer.static:
        data = fit(opened.builder.data, opened.base.signature)
        data = replace(data, samples=data.samples[:CALIBRATION])
    options = {**opened.offer.options, **opened.recipe.quantize}

    def trial(kept: Sequence[LayerNoise]) -> Parity:
        keep = [*opened.recipe.keep, *(layer.node for layer in kept)]
        with tempfile.TemporaryDirectory(prefix="edgepack-blame-") as folder:
            made = quantizer.quantize(
                opened.base, opened.offer.precision, data, Path(folder), **options, keep=keep
            )
            return bench.judge(opened.target.session, made.path, opened)

    return trial
