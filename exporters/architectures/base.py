"""What an architecture is: a card, configurations, and how one of them is built.

One architecture a file, filed by the decorator `architecture`; its networks stand in a module whose name
begins with "_", so that looking through the registry does not import torch. `zoo:NAME/CONFIGURATION` is the
source that opens them (`exporters/sources/zoo.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from edgepack.toolchain.errors import UnknownNameError
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
    """

    card: Card
    configs: Mapping[str, Any]
    parameters: Mapping[str, int]
    build: Callable[[Any], TorchModel]

    def config(self, name: str | None) -> tuple[str, Any]:
        """The configuration of that name, or the first; with its name.

        Raises:
            UnknownNameError: There is none of that name.
        """
        chosen = name or next(iter(self.configs))
        if chosen not in self.configs:
            raise UnknownNameError(
                "configuration", chosen, self.configs, where=f"zoo:{self.card.name}/{chosen}"
            )
        return chosen, self.configs[chosen]


architectures: Registry[Architecture] = Registry(
    "architecture", "edgepack.exporters.architectures", "edgepack.architectures"
)


def architecture(
    card: Card, configs: Mapping[str, C], count: Callable[[C], int]
) -> Callable[[Callable[[C], TorchModel]], Callable[[C], TorchModel]]:
    """Decorator that files a build function under its card's name.

    Args:
        card: See there.
        configs: Configurations by name.
        count: Parameters of a configuration.
    """

    def file(build: Callable[[C], TorchModel]) -> Callable[[C], TorchModel]:
        counted = {name: count(config) for name, config in configs.items()}
        architectures.register(card.name)(Architecture(card, configs, counted, build))
        return build

    return file
