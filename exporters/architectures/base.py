"""What an architecture is: a card, configurations, and how one of them is built.

One architecture a file, filed by the decorator `architecture`; its networks stand in a module whose name
begins with "_", so that looking through the registry does not import torch. `zoo:NAME/CONFIGURATION` is the
source that opens them (`exporters/sources/zoo.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.registry import Registry

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

C = TypeVar("C")


@dataclass(frozen=True)
class Card:
    """What is to be known of an architecture without building it.

    Attributes:
        name: As it is asked for, `zoo:NAME`.
        row: Its row in the table of systems.
        paper: Title.
        arxiv: Identifier, or None where there is none.
        says: The paper's figures that concern this architecture, with where they stand.
        parts: What each part does, by form of the model where there are several.
        checks: What is verified whenever it is exported.
        assumed: What the paper leaves open and was decided here.
    """

    name: str
    row: str
    paper: str
    arxiv: str | None
    says: tuple[str, ...]
    parts: Mapping[str, str]
    checks: tuple[str, ...]
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Architecture:
    """A card and the configurations that can be built.

    Attributes:
        card: See there.
        configs: By name; the first one is meant when none is named.
        parameters: Parameters by configuration, counted from the formula (no torch needed); a test
            compares them with the built network.
        build: Makes the model of a configuration in torch, with random weights from a fixed seed.
        choices: Of an elastic architecture, one network that holds others (width, depth, exits): the values
            that each choice can take, the whole network's first. `zoo:NAME/width=64,depth=2` is a sub-network.
    """

    card: Card
    configs: Mapping[str, Any]
    parameters: Mapping[str, int]
    build: Callable[[Any], TorchModel]
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def config(self, name: str | None) -> tuple[str, Any]:
        """The configuration of that name, or the first; with its name.

        Raises:
            UnknownNameError: There is none of that name.
        """
        chosen = name or next(iter(self.configs))
        if "=" in chosen and self.choices:
            return chosen, self.configs[chosen]
        if chosen not in self.configs:
            raise UnknownNameError(
                "configuration", chosen, self.configs, where=f"zoo:{self.card.name}/{chosen}"
            )
        return chosen, self.configs[chosen]


architectures: Registry[Architecture] = Registry(
    "architecture", "edgepack.exporters.architectures", "edgepack.architectures"
)


class _Elastic(dict[str, C]):
    """Configurations by name, and those of sub-networks by their choices ("width=64,depth=2").

    Args:
        configs: The named ones.
        choices: Values by choice.
        choose: From a value of every choice to a configuration.
        name: The architecture's.
    """

    def __init__(
        self,
        configs: Mapping[str, C],
        choices: Mapping[str, Sequence[Any]],
        choose: Callable[[Mapping[str, Any]], C],
        name: str,
    ) -> None:
        super().__init__(configs)
        self._choices, self._choose, self._name = choices, choose, name

    def __missing__(self, text: str) -> C:
        where = f"zoo:{self._name}/{text}"
        given = dict(pair.partition("=")[::2] for pair in text.split(","))
        chosen = {}
        for key, value in given.items():
            if key not in self._choices:
                raise UnknownNameError("choice", key, self._choices, where=where)
            known = {str(one): one for one in self._choices[key]}
            if value not in known:
                raise UnknownNameError(f"value of {key}", value, known, where=where)
            chosen[key] = known[value]
        left = [key for key in self._choices if key not in chosen]
        if left:
            raise UsageError(
                f"The choice of {', '.join(left)} is missing", where=where, todo="Name all choices"
            )
        return self._choose(chosen)


def architecture(
    card: Card,
    configs: Mapping[str, C],
    count: Callable[[C], int],
    *,
    choices: Mapping[str, Sequence[Any]] | None = None,
    choose: Callable[[Mapping[str, Any]], C] | None = None,
) -> Callable[[Callable[[C], TorchModel]], Callable[[C], TorchModel]]:
    """Decorator that files a build function under its card's name.

    Args:
        card: See there.
        configs: Configurations by name.
        count: Parameters of a configuration.
        choices: Of an elastic architecture, see `Architecture`.
        choose: From a value of every choice to the configuration of that sub-network.
    """

    def file(build: Callable[[C], TorchModel]) -> Callable[[C], TorchModel]:
        counted = {name: count(config) for name, config in configs.items()}
        known = (
            configs if choices is None or choose is None else _Elastic(configs, choices, choose, card.name)
        )
        architectures.register(card.name)(Architecture(card, known, counted, build, choices or {}))
        return build

    return file
