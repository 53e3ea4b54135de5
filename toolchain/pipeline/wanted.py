"""Which targets a run is for: names, and families of them.

A family is `cpu`, `npu` or `mobile`, or the beginning of several targets' names up to where a word of theirs ends:
`npu:ethos-u` (before the digits of its members), `npu:ethos-u55`, `npu:qnn-htp`. It stands for every member whose
toolchain is installed.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgepack.targets.base import FAMILIES, Target, targets
from edgepack.toolchain.errors import ToolchainMissingError


def resolve_targets(names: Iterable[str]) -> list[Target]:
    """Targets by name, families expanded to their installed members, each once, in order.

    Raises:
        UnknownNameError: Neither a target nor a family.
        TargetError: Neither of them, and a plugin that may bring it cannot be loaded.
        ToolchainMissingError: A named target's toolchain, or every member's of a family, is missing.
    """
    found: dict[str, Target] = {}
    for name in names:
        if name in targets:
            target = targets.get(name)()
            target.check()
            found[name] = target
            continue
        members = [targets.get(member)() for member in members_of(name, targets.names())]
        present = [member for member in members if not member.missing()]
        if not members and name not in FAMILIES:
            raise targets.unknown(name, FAMILIES, where="--target")
        if not present:
            members[0].check() if members else None
            raise ToolchainMissingError(
                f"No target of the family '{name}' is installed", todo="Run: edgepack doctor"
            )
        found |= {member.name: member for member in present}
    return list(found.values())


def members_of(family: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that belong to a family; empty when it is none."""
    return [name for name in names if name.startswith(family) and _ends_a_word(family, name[len(family) :])]


def _ends_a_word(family: str, rest: str) -> bool:
    """Whether a name goes on after `family` with a new word: ":x", "-x", or a number after a letter."""
    if ":" not in family:
        return rest.startswith(":")
    return rest.startswith("-") or (rest[:1].isdigit() and family[-1].isalpha())
