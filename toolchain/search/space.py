"""The search space: parameters of the samplers, what they mean for a network, and the assignments to begin with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepack.quantize._onnx_mixed_groups import Group

CHOICE = "choice:"


def parameters(groups: Sequence[Group]) -> dict[str, Group]:
    """Groups by the name of their parameter.

    It is made of the kind and a number within the kind, so that sub-networks of other depths and widths share the
    parameters of the layers that they have in common; groups with other forms have other parameters.
    """
    found: dict[str, Group] = {}
    numbers: dict[str, int] = {}
    for group in groups:
        key = f"{group.kind} of {len(group.forms)} forms"
        number = numbers[key] = numbers.get(key, -1) + 1
        found[f"{key}, {number:03d}"] = group
    return found


def uniform(groups: Sequence[Group], form: str) -> dict[str, str]:
    """Every group in one form; those that cannot take it stay fp32, lookups go with the nearest form."""
    found: dict[str, str] = {}
    for group in groups:
        if form in group.forms:
            found[group.name] = form
        elif group.kind == "lookup" and form == "int8-static":
            found[group.name] = "int8-dynamic"
    return found


def size(groups: Sequence[Group], choices: Mapping[str, Sequence[str]]) -> int:
    """How many candidates there are; with choices those of the whole network stand for all others."""
    return math.prod(len(group.forms) for group in groups) * math.prod(map(len, choices.values()))


def to_params(
    groups: Sequence[Group], forms: Mapping[str, str], choices: Mapping[str, str]
) -> dict[str, Any]:
    """The samplers' parameters of a candidate."""
    chosen = {f"{CHOICE}{name}": value for name, value in choices.items()}
    return chosen | {key: forms.get(group.name, "fp32") for key, group in parameters(groups).items()}
