"""Random weights with which signals keep their size through any number of layers."""

from __future__ import annotations

import math

import torch


def initialize(net: torch.nn.Module, seed: int) -> None:
    """Normal weights of variance 1 / fan-in from a seed, in place; vectors (norms, biases) stay as they are.

    On the meta device, where nothing has a value, nothing happens.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1 and not parameter.is_meta:
                fan_in = parameter.shape[-1] if parameter.ndim == 2 else math.prod(parameter.shape[1:])  # noqa: PLR2004
                parameter.normal_(0.0, fan_in**-0.5, generator=generator)
