"""One cell of the table: a network is made, made binary, trained, judged, corrupted, counted and exported."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgepack.quantize.binary import convert
from edgepack.toolchain.bibench.cells import artifact, complexity, tasks, training
from edgepack.toolchain.bibench.cells.corruptions import CORRUPTIONS, corrupted
from edgepack.toolchain.bibench.cells.networks import network
from edgepack.toolchain.bibench.results import BASELINE, Artifact, Cell, Corrupted, Training
from edgepack.toolchain.datasets import fashion_mnist
from edgepack.toolchain.errors import EdgepackError

_CODE = ("edgepack.quantize.binary", "edgepack.toolchain.bibench.cells", "edgepack.toolchain.datasets")


@dataclass(frozen=True)
class Work:
    """What a cell is made of.

    Attributes:
        task: A key of `tasks.TASKS`.
        architecture: One that fits it.
        method: A name in `quantize.binary.methods`, or "fp32".
        rate_factor: Of the learning rate; other than 1, only the accuracy is wanted.
        width, layers, samples, test_samples, steps, batch, rate, seed: As of `settings.Budget`.
        severities, corrupted: The same.
    """

    task: str
    architecture: str
    method: str
    rate_factor: float
    width: int
    layers: int
    samples: int
    test_samples: int
    steps: int
    batch: int
    rate: float
    seed: int
    severities: tuple[int, ...]
    corrupted: int

    def key(self, machine: str) -> dict[str, Any]:
        """Everything that the result depends on.

        Args:
            machine: Fingerprint of the environment.

        Raises:
            UsageError: The task's data are not there.
        """
        return {
            "what": "bibench cell", "work": asdict(self), "data": digest(self.task, self.samples, self.test_samples),
            "code": code(), "machine": machine,
        }  # fmt: skip


def make(work: Work, folder: Path) -> Cell:
    """Do the work; the exported file is left in `folder`.

    What one track cannot do is said in the cell, with the reason, and the others go on.

    Raises:
        EdgepackError: The network cannot be made binary or trained: then there is no figure at all.
    """
    task = tasks.TASKS[work.task]
    arrays = tasks.load(work.task, work.samples, work.test_samples)
    inputs, labels, unseen, classes = (torch.from_numpy(np.ascontiguousarray(values)) for values in arrays)
    width = 2 * work.width if work.architecture == "transformer" else work.width
    binary = work.method != BASELINE
    with training.repeatable(work.seed):
        baseline = network(work.architecture, task.shape, task.classes, width, work.layers)
        with torch.no_grad():
            baseline.eval()(inputs[:2])  # gives the last layer its size
        kept: dict[str, str] = {}
        names: tuple[str, ...] = ()
        model: nn.Module = baseline
        if binary:
            model, report = convert(baseline, work.method, example_inputs=(inputs[:2],))
            kept, names = report.kept, report.binary
        took = training.train(
            model, inputs, labels, steps=work.steps, batch=work.batch, rate=work.rate * work.rate_factor, seed=work.seed
        )  # fmt: skip
        cell = Cell(
            task=work.task,
            architecture=work.architecture,
            method=work.method,
            rate_factor=work.rate_factor,
            accuracy=training.accuracy(model, unseen, classes),
            binary_layers=len(names),
            kept=kept,
            training=Training(
                cpu_seconds=took.cpu_seconds,
                bytes=took.bytes,
                loss=took.loss,
                steps=work.steps,
                batch=work.batch,
            ),
        )
        if work.rate_factor != 1:
            return cell
        ships = artifact.frozen(model, binary=binary)
        cell.complexity = complexity.count(baseline, ships if binary else None, names, inputs[:1])
        if task.shape.channels:
            cell.corrupted = list(_corrupted(model, work, unseen, classes))
        else:
            cell.not_corrupted = "noise, blur and contrast are of images"
        exported = _exported(ships, unseen, task.classes, folder)
        if isinstance(exported, str):
            cell.not_exported = exported
        else:
            cell.artifact = exported
    return cell


def _exported(model: nn.Module, inputs: Tensor, classes: int, folder: Path) -> Artifact | str:
    try:
        return artifact.write(model, inputs, classes, folder)
    except EdgepackError as error:
        return str(error)


def _corrupted(model: nn.Module, work: Work, unseen: Tensor, classes: Tensor) -> Iterator[Corrupted]:
    """Accuracy on the same first images, as they are and corrupted."""
    mean, deviation = fashion_mnist.MEAN / 255, fashion_mnist.DEVIATION / 255
    images, labels = unseen[: work.corrupted], classes[: work.corrupted]
    pixels = images * deviation + mean
    yield Corrupted(name="none", severity=0, accuracy=training.accuracy(model, images, labels))
    for number, name in enumerate(CORRUPTIONS):
        for severity in work.severities:
            seen = (corrupted(name, pixels, severity, seed=number) - mean) / deviation
            yield Corrupted(name=name, severity=severity, accuracy=training.accuracy(model, seen, labels))


@cache
def digest(task: str, samples: int, test_samples: int) -> str:
    """SHA-256 of a task's arrays."""
    hasher = hashlib.sha256()
    for values in tasks.load(task, samples, test_samples):
        hasher.update(f"{values.dtype}{values.shape}".encode())
        hasher.update(np.ascontiguousarray(values).tobytes())
    return hasher.hexdigest()


@cache
def code() -> str:
    """SHA-256 of what the modules do that decide a cell, the methods' among them; comments do not count."""
    hasher = hashlib.sha256()
    for package in _CODE:
        root = Path(next(iter(import_module(package).__path__)))
        for path in sorted(root.rglob("*.py")):
            hasher.update(path.relative_to(root).as_posix().encode())
            hasher.update(_syntax(path.read_bytes()).encode())
    return hasher.hexdigest()


def _syntax(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
