"""What an architecture is: a card, configurations, and how one of them is built.

One architecture a file, filed by the decorator `architecture`; its networks stand in a module whose name
begins with "_", so that looking through the registry does not import torch. `zoo:NAME/CONFIGURATION` is the
source that opens them (`exporters/sources/zoo.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from edgepack.exporters.architectures.cards import Card
from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.registry import Registry

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Counted, Whole
    from edgepack.exporters.sources.base import TorchModel

C = TypeVar("C")
Lost: TypeAlias = Callable[[Mapping[str, "ir.Model"]], Sequence[str]]


@dataclass(frozen=True)
class Architecture:
    """A card and the configurations that can be built.

    Attributes:
        card: See there.
        configs: By name; the first one is meant when none is named.
        tiny: The configuration with which all parts and checks run in seconds.
        build: Makes the model of a configuration in torch, with random weights from a fixed seed.
        whole: Makes what is counted of a configuration; called with the meta device as torch's default.
        lost: Says what of the card's `structure` is missing in the graphs of the tiny configuration, by part.
        choices: Of an elastic architecture, one network that holds others (width, depth, exits): the values
            that each choice can take, the whole network's first. `zoo:NAME/width=64,depth=2` is a sub-network.
    """

    card: Card
    configs: Mapping[str, Any]
    tiny: str
    build: Callable[[Any], TorchModel]
    whole: Callable[[Any], Whole]
    lost: Lost
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

    def counted(self, name: str | None = None) -> Counted:
        """Parameters and multiply-accumulates of a configuration, built without numbers.

        Raises:
            UnknownNameError: There is none of that name.
        """
        from edgepack.exporters.architectures import _counting

        _, config = self.config(name)
        return _counting.counted(lambda: self.whole(config))


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
    *,
    tiny: str,
    whole: Callable[[C], Whole],
    lost: Lost,
    choices: Mapping[str, Sequence[Any]] | None = None,
    choose: Callable[[Mapping[str, Any]], C] | None = None,
) -> Callable[[Callable[[C], TorchModel]], Callable[[C], TorchModel]]:
    """Decorator that files a build function under its card's name; the arguments are those of `Architecture`.

    Args:
        card: See there.
        configs: Configurations by name.
        tiny: See `Architecture`.
        whole: See `Architecture`.
        lost: See `Architecture`.
        choices: Of an elastic architecture, see `Architecture`.
        choose: From a value of every choice to the configuration of that sub-network.
    """

    def file(build: Callable[[C], TorchModel]) -> Callable[[C], TorchModel]:
        known = (
            configs if choices is None or choose is None else _Elastic(configs, choices, choose, card.name)
        )
        made = Architecture(card, known, tiny, build, whole, lost, choices or {})
        architectures.register(card.name)(made)
        return build

    return file
