"""Image networks trained on Fashion-MNIST, as sources that edgepack can export.

    edgepack export tests/trained/vision.py:cnn --calibration tests/trained/vision.py:images \
        --metric python:tests/trained/vision.py:accuracy

The first use of a network trains it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

# edgepack loads this file by its path, from wherever it is called.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.trained import classifiers, fashion_mnist
from tests.trained.classifiers import Plan
from tests.trained.store import trained

if TYPE_CHECKING:
    import numpy as np

CALIBRATING, JUDGING = 512, 2000

CNN = Plan("cnn", 24, 200_000, 0.01)
VIT = Plan("vit", 64, 150_000, 0.003)
SMALL = Plan("cnn", 12, 60_000, 0.02)


def cnn() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The convolutional network with its weights, and two images."""
    return _opened(CNN)


def vit() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The vision transformer with its weights, and two images."""
    return _opened(VIT)


def small() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """A convolutional network that trains in seconds, with its weights, and two images."""
    return _opened(SMALL)


def images() -> Iterator[dict[str, np.ndarray]]:
    """Training images, one a sample: the test images are for judging alone."""
    for image in fashion_mnist.load("train")[0][:CALIBRATING]:
        yield {"images": image[None]}


def accuracy(model: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]) -> float:
    """Share of 2,000 test images that a model gets right, for `--metric`."""
    pixels, labels = fashion_mnist.load("test")
    right = 0
    for image, label in zip(pixels[:JUDGING], labels[:JUDGING], strict=True):
        (logits,) = model({"images": image[None]}).values()
        right += int(logits.argmax() == label)
    return right / JUDGING


def folder(plan: Plan) -> Path:
    """The folder with the weights of a plan, trained now unless they are there."""
    data = [fashion_mnist.FOLDER / name for name in fashion_mnist.FILES["train"]]
    return trained(classifiers.CODE, data, plan._asdict(), lambda into: classifiers.train(plan, into))


def _opened(plan: Plan) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    from safetensors.torch import load_file

    network = plan.network()
    network.load_state_dict(load_file(folder(plan) / classifiers.WEIGHTS))
    return network.eval(), (torch.from_numpy(fashion_mnist.load("train")[0][:2].copy()),)
