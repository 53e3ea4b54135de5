"""`zoo:NAME` and `zoo:NAME/CONFIGURATION`: an architecture of edgepack's own, with random weights from a seed."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

from edgepack.exporters import architectures as folder
from edgepack.exporters.architectures.base import Architecture, architectures
from edgepack.exporters.sources.base import Source, TorchModel, sources
from edgepack.toolchain.errors import UsageError

PREFIX = "zoo:"
_SEED = 0


@sources.register("zoo")
class ZooSource(Source):
    """A registered architecture."""

    kind = "zoo"

    @classmethod
    def accepts(cls, model: str) -> bool:
        return model.startswith(PREFIX)

    def check(self) -> None:
        self.chosen()
        if self.request.inputs:
            raise UsageError(
                "An architecture of the zoo knows its inputs",
                where="--inputs",
                todo="Leave it out, and set sizes with --size",
            )

    def chosen(self) -> tuple[Architecture, str]:
        """The architecture, and the name of its configuration.

        Raises:
            UnknownNameError: There is no such architecture or configuration.
        """
        name, _, config = self.request.model.removeprefix(PREFIX).partition("/")
        found = architectures.get(name, where=self.request.model)
        return found, found.config(config or None)[0]

    def fingerprint(self) -> str | None:
        """Over the configuration and the code of all built-in architectures, which share blocks.

        None for one of another distribution, whose code is not known to be where its registry entry is.
        """
        found, name = self.chosen()
        if not found.build.__module__.startswith("edgepack."):
            return None
        root = Path(folder.__file__).parent
        hasher = hashlib.sha256(repr((found.card.name, name, asdict(found.configs[name]))).encode())
        for path in sorted(root.rglob("*.py")):
            hasher.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
        return hasher.hexdigest()

    def open_torch(self) -> TorchModel:
        """Built with torch's own generator seeded: biases that a network leaves to torch come from there.

        A fingerprint then stands for one set of weights, in every process.
        """
        import torch

        found, name = self.chosen()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            model = found.build(found.configs[name])
        model.facts.location = self.request.model
        return model
