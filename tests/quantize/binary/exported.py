"""A tiny trained network for `edgepack export`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

# edgepack loads this file by its path, from wherever it is called.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from edgepack.quantize.binary import convert, freeze
from tests.quantize.binary.networks import images, residual, train


def network() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Frozen, with its example images."""
    model = convert(residual(), "bi-real")[0]
    train(model, images())
    return freeze(model), (images(),)
