"""What a quantizer is, its registry, and the data that calibrates and judges it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.quantize.options import Options
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.registry import Registry
from edgepack.toolchain.results import Calibration

if TYPE_CHECKING:
    import numpy as np

Feeds = Mapping[str, "np.ndarray"]


@dataclass(frozen=True)
class CalibrationData:
    """Samples for one part: those that calibrate, and others, never seen by it, that judge.

    Attributes:
        facts: Kind, description and counts, as the report states them.
        samples: Inputs by name, read from disk when asked for; sizes may differ from sample to sample.
        held_out: Inputs that no quantizer sees.
        fingerprint: SHA-256 over both.
    """

    facts: Calibration
    samples: Sequence[Feeds]
    held_out: Sequence[Feeds]
    fingerprint: str

    def __iter__(self) -> Iterator[Feeds]:
        return iter(self.samples)


class Quantizer(ABC):
    """Lowered float file in, lowered quantized file out.

    `static` quantizers need calibration data. A quantizer that changes no node is an error of the
    quantizer's own making and raises TargetError.
    """

    format: ClassVar[str]
    static: ClassVar[bool]
    uses_data: ClassVar[bool] = False
    """Whether real inputs make its result better although it works without any."""
    options_type: ClassVar[type[Options]] = Options
    """What `quantize` can be told by `**options`."""
    for_states: ClassVar[Mapping[str, Any]] = {}
    """Options that a part with states has, unless the offer or the user says otherwise."""

    @abstractmethod
    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write the quantized file into `folder` and say how many nodes changed.

        `options` are fields of `options_type`, which says what they mean.
        """


quantizers: Registry[type[Quantizer]] = Registry("quantizer", "edgepack.quantize", "edgepack.quantizers")
