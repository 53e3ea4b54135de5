"""What a peer is: forms that it makes of a task in a process of its own, and how it opens one to be measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.peers import models
from tests.benchmarks.peers.models import Feed, Task

if TYPE_CHECKING:
    import numpy as np

Call = Callable[[Feed], "np.ndarray"]
"""One call from numpy arrays to numpy arrays, all outputs fetched; returns the first."""

PEERS = ("ort_quantizers", "openvino", "litert", "executorch")
"""Modules beside this one, each with a `PEER`."""
RAW = "raw.onnx"


class Peer(ABC):
    """A toolchain, used as its own documentation says.

    Attributes:
        title: For people.
        distributions: Packages whose versions the table names.
        takes_raw: Whether it starts from the ONNX file that torch's exporter wrote.
    """

    title: str
    distributions: tuple[str, ...]
    takes_raw = False

    @abstractmethod
    def forms(self, task: Task) -> Sequence[str]:
        """What it makes of this task."""

    @abstractmethod
    def build(self, task: Task, form: str, raw: Path | None, folder: Path) -> None:
        """Write a form into an empty folder; forms come in the order of `forms`, in folders side by side."""

    @abstractmethod
    def open(self, task: Task, form: str, folder: Path) -> Call:
        """Load a form, for one thread."""

    def versions(self) -> dict[str, str]:
        """Of its packages."""
        return {name: metadata.version(name) for name in self.distributions}


def peer(name: str) -> Peer:
    """The peer of a module."""
    found: Peer = import_module(f"tests.benchmarks.peers.{name}").PEER
    return found


def exported(task: Task) -> tuple[Any, list[str], tuple[Any, ...]]:
    """A task's torch module in eval mode, the names of its inputs, and example tensors of the timed shape."""
    part = models.torch_part(task)
    names = [spec.name for spec in part.signature.inputs]
    timed = models.samples(name_of(task)).timed
    return part.module, names, models.arguments(names, timed)


def name_of(task: Task) -> str:
    """The task's name."""
    return next(name for name, known in models.TASKS.items() if known is task)


def input_names(task: Task) -> list[str]:
    """Names of the inputs in the module's order, without torch."""
    return list(models.samples(name_of(task)).timed)


def write_raw(task: Task, path: Path) -> None:
    """The ONNX file that `torch.onnx.export` writes, with the module's own names."""
    import torch

    part = models.torch_part(task)
    module, names, args = exported(task)
    program = torch.onnx.export(
        module,
        args,
        input_names=names,
        output_names=[spec.name for spec in part.signature.outputs],
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(path, include_initializers=True, external_data=False)
