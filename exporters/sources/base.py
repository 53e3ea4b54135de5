"""What a source is: where a model comes from, how it is checked, and how it opens in torch.

A source is cheap until it is opened: `check` and `fingerprint` read headers and bytes, never import
torch and never run the model's code. `open_torch` does, and is called in a worker process, so that
what a model prints, forks or allocates stays there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.program import Call, Signature, StateLink
from edgepack.toolchain.registry import Registry
from edgepack.toolchain.results import SourceFacts

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class SourceRequest:
    """What the user asked for, as plain data that a worker process can be handed.

    Attributes:
        model: Folder, file, "module:factory" or "file.py:factory".
        task: A task's name, or None to find it from the model's configuration.
        inputs: Specifications such as "ids:int64[1,seq=128]", for sources that do not know theirs.
        trust_pickle: The user allows unpickling, which can run any code.
        trust_remote_code: The user allows running code that lies in the model's folder.
        cwd: Where a factory's module is looked for first; the current folder when empty.
    """

    model: str
    task: str | None = None
    inputs: tuple[str, ...] = ()
    trust_pickle: bool = False
    trust_remote_code: bool = False
    cwd: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `from_json`."""
        return asdict(self)

    def anywhere(self) -> SourceRequest:
        """The same model for a process that runs in another folder: paths absolute."""
        location, colon, name = self.model.rpartition(":")
        if Path(self.model).exists():
            model = str(Path(self.model).resolve())
        elif colon and Path(location).is_file():
            model = f"{Path(location).resolve()}:{name}"
        else:
            model = self.model
        return replace(self, model=model, cwd=self.cwd or str(Path.cwd()))

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> SourceRequest:
        """The inverse of `to_json`."""
        return SourceRequest(**{**data, "inputs": tuple(data.get("inputs", ()))})


@dataclass
class TorchPart:
    """One callable part of a model, with everything an exporter needs to call it.

    Attributes:
        module: In eval mode; called positionally in the signature's order; a tensor or a tuple of
            tensors comes back, in the signature's order. Known rewrites are applied here.
        signature: Inputs, and outputs once they are known (empty names are filled by `record`).
        example: Makes inputs for given sizes of the named dimensions, from a seed.
        where: The model, for messages.
        reference: Called like `module`, without rewrites: the source framework's own answer.
        sizes: Sizes of the named dimensions of the first reference case; the graph is traced with them,
            so sizes of 0 and 1 should be left to `size_sets` (torch.export treats them as constants).
        limits: Largest legal size of a named dimension, where there is one.
        output_names: What positional outputs are called, where the source knows better than a number.
        size_sets: Sizes of the other reference cases, where not just any will do.
        initial: Values of state inputs before the first call, where they are not zeros.
    """

    module: torch.nn.Module
    signature: Signature
    example: Callable[[Mapping[str, int], int], dict[str, np.ndarray]]
    where: str = "model"
    reference: Callable[..., Any] | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    output_names: tuple[str, ...] = ()
    size_sets: tuple[dict[str, int], ...] = ()
    initial: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class TorchModel:
    """A model opened in torch: its parts, which share one set of weights.

    Attributes:
        parts: By name, in calling order; a model of one part calls it "main".
        facts: Facts for the report.
        notes: Known rewrites that were applied, and those that were left with the reason.
        links: State links between (or within) parts.
        rollout: Makes the calls that must agree with the full sequence: parts called one after the
            other from a fresh state, with reference outputs that the unchanged model gave for the whole
            sequence at once. Required when there are links.
    """

    parts: dict[str, TorchPart]
    facts: SourceFacts
    notes: list[str] = field(default_factory=list)
    links: tuple[StateLink, ...] = ()
    rollout: Callable[[], list[Call]] | None = None

    @property
    def main(self) -> TorchPart:
        """The only part of a model of one part; a KeyError otherwise."""
        return self.parts["main"]


class Source(ABC):
    """A model that was named and not yet opened."""

    kind: ClassVar[str]
    gives_torch: ClassVar[bool] = True

    def __init__(self, request: SourceRequest) -> None:
        self.request = request

    @classmethod
    @abstractmethod
    def accepts(cls, model: str) -> bool:
        """Whether `model` has this source's form; looks at names, not into files."""

    @abstractmethod
    def check(self) -> None:
        """Find everything wrong that can be found without running the model.

        Raises:
            SourceError: Missing, truncated or hostile files, or an unusable configuration.
        """

    @abstractmethod
    def fingerprint(self) -> str | None:
        """SHA-256 over all that defines the model, or None when only running it would tell."""

    def open_torch(self) -> TorchModel:
        """Open the model in torch.

        Raises:
            SourceError: It cannot be opened.
        """
        raise SourceError(
            f"A model of kind '{self.kind}' cannot be opened in torch",
            where=self.request.model,
            todo="Give the PyTorch model itself: a Hugging Face folder, module:factory, file.py:factory or .pt2",
        )


sources: Registry[type[Source]] = Registry("source", "edgepack.exporters.sources", "edgepack.sources")
