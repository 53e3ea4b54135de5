"""A candidate: one precision of one target for one part, what was built and how good it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgepack.targets.base import Compiled, Offer, Target
from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.results import Calibration, Latency, Parity


@dataclass
class Candidate:
    """One precision of one target: what was built and how good it is.

    Attributes:
        target: The target.
        offer: The precision and how it is made.
        folder: The compiled files; None when it was not built or failed.
        compiled: What the target said of them.
        base: The float file that it was quantized from, rewritten where the target asked for that.
        lowered: The file before the compiler; its folder holds what numerics are located in.
        parity: Against the fp32 program (or the source framework); None when not built.
        calibration: What the quantizer saw.
        error: Why there is no artifact.
    """

    target: Target
    offer: Offer
    folder: Path | None = None
    compiled: Compiled | None = None
    base: Lowered | None = None
    lowered: Lowered | None = None
    parity: Parity | None = None
    calibration: Calibration | None = None
    error: EdgepackError | None = None
    latency: Latency | None = None

    @property
    def passed(self) -> bool:
        """Built, and within its gate."""
        return self.parity is not None and self.parity.passed

    @property
    def run_path(self) -> Path:
        """The file that the host runs."""
        assert self.folder is not None and self.compiled is not None  # noqa: S101, PT018
        return self.folder / self.compiled.run_file
