"""The tasks: what is learned, from which data, and which architectures fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from edgepack.toolchain.bibench.cells.inputs import Shape
from edgepack.toolchain.datasets import docstrings, fashion_mnist, fragments
from edgepack.toolchain.errors import UsageError

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training inputs and classes, test inputs and classes."""


@dataclass(frozen=True)
class Task:
    """A classification.

    Attributes:
        title: What it is, for people.
        shape: Of one input.
        classes: How many.
        architectures: Keys of `networks.BODIES`.
        load: From the numbers of training and test examples that are wanted.
    """

    title: str
    shape: Shape
    classes: int
    architectures: tuple[str, ...]
    load: Callable[[int, int], Arrays]


def fashion(samples: int, test_samples: int) -> Arrays:
    """Fashion-MNIST, from its beginning: the files are in random order.

    Raises:
        UsageError: The data are not installed.
    """
    if not fashion_mnist.FOLDER.is_dir():
        raise UsageError(
            "Fashion-MNIST is not installed",
            where=str(fashion_mnist.FOLDER),
            todo=f"Install Debian's package {fashion_mnist.PACKAGE}",
        )
    train, test = fashion_mnist.load("train"), fashion_mnist.load("test")
    return train[0][:samples], train[1][:samples], test[0][:test_samples], test[1][:test_samples]


TASKS: dict[str, Task] = {
    "image": Task(
        "Fashion-MNIST: photographs of clothes, 28 x 28, ten classes",
        Shape(28, channels=1),
        len(fashion_mnist.CLASSES),
        ("cnn", "resnet", "transformer"),
        fashion,
    ),
    "text": Task(
        "docstrings: which of six Python libraries a paragraph is from, 32 words",
        Shape(docstrings.LENGTH, vocabulary=docstrings.VOCABULARY),
        len(docstrings.LIBRARIES),
        ("cnn", "transformer"),
        docstrings.load,
    ),
    "bytes": Task(
        "file fragments: which of six kinds of file 256 bytes are from, one-dimensional",
        Shape(fragments.LENGTH, vocabulary=256),
        len(fragments.KINDS),
        ("cnn", "resnet", "transformer"),
        fragments.load,
    ),
}


@cache
def load(task: str, samples: int, test_samples: int) -> Arrays:
    """A task's data, read once in a process.

    Raises:
        UsageError: They are not there, or a class has no example on one side.
    """
    arrays = TASKS[task].load(samples, test_samples)
    for labels, side in ((arrays[1], "training"), (arrays[3], "test")):
        found = len(np.unique(labels))
        if found < min(TASKS[task].classes, samples if side == "training" else test_samples):
            raise UsageError(
                f"The {side} data of the task {task} have {found} of {TASKS[task].classes} classes",
                todo="Take more examples, or install what edgepack depends on anew",
            )
    return arrays
