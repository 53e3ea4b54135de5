"""What an artifact of a part is judged on: feeds, and the outputs that it should have."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edgepack.quantize.data import fit_feed
from edgepack.toolchain.pipeline import judging

if TYPE_CHECKING:
    import numpy as np

    from edgepack.quantize.base import CalibrationData
    from edgepack.toolchain.program import Lowered, Part


class Reference(NamedTuple):
    """What an artifact is judged on.

    Attributes:
        feeds: Its inputs, one mapping a call.
        outputs: What each call should give.
        name: What made the outputs.
        data: What the feeds are.
    """

    feeds: list[dict[str, np.ndarray]]
    outputs: list[dict[str, np.ndarray]]
    name: str
    data: str


class References:
    """References of a part; those that the fp32 program computes are computed once for the same shapes."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._computed: dict[str, list[dict[str, np.ndarray]]] = {}

    def held_out(self, lowered: Lowered, data: CalibrationData) -> Reference:
        """For a quantized artifact of `lowered`: the fp32 program on data that did not calibrate."""
        feeds = [fit_feed(feed, lowered.signature) for feed in data.held_out]
        outputs = self._outputs("held-out", lowered, feeds)
        return Reference(feeds, outputs, "fp32 program", f"held-out {data.facts.kind} data")

    def cases(self, lowered: Lowered) -> Reference:
        """For a float artifact of `lowered`: the recorded cases, computed again where its shapes are fixed."""
        feeds = judging.case_feeds(self.part, lowered.signature)
        if not lowered.signature.symbols and self.part.signature.symbols:
            outputs = self._outputs("cases", lowered, feeds)
            return Reference(feeds, outputs, "fp32 program", "reference cases")
        outputs = [case.outputs for case in self.part.cases]
        return Reference(feeds, outputs, "source framework", "reference cases")

    def _outputs(
        self, kind: str, lowered: Lowered, feeds: list[dict[str, np.ndarray]]
    ) -> list[dict[str, np.ndarray]]:
        key = f"{kind} {[spec.shape for spec in lowered.signature.inputs]}"
        if key not in self._computed:
            self._computed[key] = judging.reference_outputs(self.part, feeds)
        return self._computed[key]
