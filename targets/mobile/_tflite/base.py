"""What the translation of one ONNX operator is, the registry of them, and how one says no.

A translation is a small function that is filed under the operator's name. It takes a `Node`, which is the ONNX node
as it looks from TFLite, and appends operators to the graph. Where TFLite cannot do what the node asks, it refuses,
with a reason and a cure. What it tells the registry about itself is also what the documentation's table is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.registry import Registry

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.node import Node

Translate = Callable[["Node"], None]


@dataclass(frozen=True)
class Translation:
    """One member of the registry.

    Attributes:
        run: The function.
        to: TFLite's operators that it uses, as the table shows them.
        integer: Activation types in which it computes with integers ("int8", "int16"); elsewhere it computes in
            float between DEQUANTIZE and QUANTIZE.
        moves: Whether the output's numbers are numbers of the first input, so that integers keep their scale.
        limits: What it does not do, in words.
    """

    run: Translate
    to: str
    integer: tuple[str, ...] = ()
    moves: bool = False
    limits: str = ""


operators: Registry[Translation] = Registry("ONNX operator", "edgepack.targets.mobile._tflite.operators")

BOTH = ("int8", "int16")


def operator(
    *names: str, to: str, integer: tuple[str, ...] = (), moves: bool = False, limits: str = ""
) -> Callable[[Translate], Translate]:
    """Decorator that files a translation under one or more operators' names; the rest as of `Translation`."""

    def file(run: Translate) -> Translate:
        for name in names:
            operators.register(name)(Translation(run, to, integer, moves, limits))
        return run

    return file


class NotServed(TargetError):  # noqa: N818 - an answer, not a fault
    """TFLite, or this converter, cannot do what a node asks."""


class NotInteger(Exception):  # noqa: N818 - an answer, not a fault
    """A node cannot be computed with integers; it is translated again, in float. The message says why."""
