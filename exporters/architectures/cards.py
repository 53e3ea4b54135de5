"""What is to be known of an architecture without building it: its card, and the sizes that its paper gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TOLERANCE = 0.02
"""How far a count may be from the published figure, relative; papers round to two or three digits."""


@dataclass(frozen=True)
class Published:
    """A size that the paper, or its authors' code, gives for a configuration.

    Attributes:
        config: Which configuration has it.
        source: Where it stands: "Table 3", "section 4.1", "the authors' model card".
        parameters: Learned numbers, or None where none are given.
        macs: Multiply-accumulates of one forward pass at the configuration's own input size, or None. Papers that
            call one multiply-accumulate one FLOP mean this figure.
    """

    config: str
    source: str
    parameters: float | None = None
    macs: float | None = None


@dataclass(frozen=True)
class Growth:
    """How a cost grows with length, c n^exponent, fitted by a claim over four lengths or more.

    Attributes:
        claim: Its name; the architecture is the first of its two sides.
        value: "multiply-accumulates" (counted) or "latency" (measured, in ONNX Runtime on one core).
        exponent: Of the architecture, to two decimals.
        other: Of what it is compared with.
        lengths: Over which it was fitted.
        of: What a length is.
        command: What fits it again.
    """

    claim: str
    value: str
    exponent: float
    other: float
    lengths: tuple[int, ...]
    of: str
    command: str


@dataclass(frozen=True)
class Card:
    """What is to be known of an architecture without building it.

    Attributes:
        name: As it is asked for, `zoo:NAME`.
        system: Its row in the table of systems.
        paper: Title.
        arxiv: Identifier, or None where there is none.
        says: The paper's figures that concern this architecture, with where they stand.
        parts: What each part does, by form of the model where there are several.
        checks: What is verified whenever it is exported.
        assumed: What the paper leaves open and was decided here.
        published: Sizes to be counted.
        unpublished: Why there are none, where there are none.
        structure: What must survive in the exported graph; `Architecture.lost` looks for it.
        growth: Of systems whose cost is said to be linear in length: how it grows here.
        compared: Which public reference code was run with the same weights and what came out, or why none was.
    """

    name: str
    system: str
    paper: str
    arxiv: str | None
    says: tuple[str, ...]
    parts: Mapping[str, str]
    checks: tuple[str, ...]
    assumed: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    unpublished: str = ""
    structure: tuple[str, ...] = ()
    growth: tuple[Growth, ...] = ()
    compared: str = ""

    @property
    def order(self) -> tuple[int, str]:
        """Sorts cards by their rows; those without a number come first."""
        digits = "".join(sign for sign in self.system if sign.isdigit())
        return int(digits or 0), self.name
