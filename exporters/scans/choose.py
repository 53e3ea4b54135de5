"""Which form of a recurrence to export, by its structure alone.

Measured on one thread of a CPU with ONNX Runtime at lengths 256 and 1024: Scan 4.9 and 20.3 ms, chunked
products 2.4 and 9.9 ms; logarithmic steps 22.7 and 113.8 ms, a Loop slower than a Scan, and an unrolled loop
of 64 steps slower than a Scan of 64, after minutes of exporting: none of these three is ever chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Decay = Literal["head", "element", "matrix"]
FormName = Literal["step", "convolution", "chunked", "scan"]


@dataclass(frozen=True)
class Recurrence:
    """h_t = A_t h_{t-1} + u_t.

    Attributes:
        time_invariant: Whether A and the way in and out are the same at every step.
        decay: What A_t is: one number a head, one an element, or a full matrix.
        streaming: Whether a call brings one step only.
    """

    time_invariant: bool
    decay: Decay
    streaming: bool = False


@dataclass(frozen=True)
class Form:
    """The form and why, in words."""

    name: FormName
    reason: str


def choose(recurrence: Recurrence) -> Form:
    """The form to export."""
    if recurrence.streaming:
        return Form("step", "a call brings one step: the state is an input and an output, and nothing loops")
    if recurrence.time_invariant:
        return Form(
            "convolution",
            "the system does not change in time, so its impulse response is a weight and one Conv computes it",
        )
    if recurrence.decay == "head":
        return Form(
            "chunked",
            "one decay a head makes a chunk a product of matrices, about twice as fast as a Scan",
        )
    what = "a full matrix" if recurrence.decay == "matrix" else "a decay of each element's own"
    return Form("scan", f"{what} that varies in time leaves only one step after the other: one ONNX Scan")
