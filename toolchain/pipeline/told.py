"""What a recipe tells its targets, by `--target-option`: each option goes to every wanted target that has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgepack.targets.base import Target
from edgepack.toolchain.errors import TargetError, UnknownNameError
from edgepack.toolchain.recipe import Recipe


def told(recipe: Recipe, target: Target) -> dict[str, Any]:
    """The options of a recipe that a target has, as the user gave them.

    Raises:
        UnknownNameError: There is no such choice.
        UsageError: A value of a wrong type or out of range.
        TargetError: The target cannot do that.
    """
    has = target.options_type.model_fields
    values = {name: value for name, value in recipe.target_options.items() if name in has}
    if values:
        target.told(values)
    return values


def check_told(recipe: Recipe, wanted: Sequence[Target]) -> None:
    """Find what is wrong with a recipe's target options before anything is built.

    A value that one of several targets cannot do fails that target when its turn comes, and no other.

    Raises:
        UnknownNameError: No wanted target has such an option, or there is no such choice.
        UsageError: A value of a wrong type or out of range.
        TargetError: No target that has the options can do that.
    """
    if not recipe.target_options:
        return
    known = {name: None for target in wanted for name in target.options_type.model_fields}
    for name in recipe.target_options:
        if name not in known:
            names = ", ".join(target.name for target in wanted)
            raise UnknownNameError("target option", name, known, where=f"--target-option, {names}")
    refused: list[TargetError] = []
    able = 0
    for target in wanted:
        try:
            able += bool(told(recipe, target))
        except TargetError as error:
            refused.append(error)
    if refused and not able:
        raise refused[0]


def settled(recipe: Recipe, target: Target) -> dict[str, Any]:
    """Every option that a target has, as it was built with and could be typed; none that has no value."""
    values = target.told(told(recipe, target)).model_dump(exclude_none=True)
    return {name: ",".join(value) if isinstance(value, tuple) else value for name, value in values.items()}
