"""Parameters and multiply-accumulates of a network that is never filled with numbers.

Built on torch's meta device, where tensors have shapes and no storage, a network of billions of parameters takes
milliseconds. Counted are the products of matrices, convolutions and attention, two operations each as torch's
counter has them (torch.utils.flop_counter), so half of its sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Whole:
    """A network and what it is called with, on the meta device.

    Attributes:
        network: Everything that has parameters, each once.
        inputs: Of one forward pass at the configuration's own size; empty where MACs are not asked for.
    """

    network: torch.nn.Module
    inputs: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True)
class Counted:
    """Sizes of a configuration.

    Attributes:
        parameters: Learned numbers; tied ones count once.
        macs: Multiply-accumulates of one forward pass, or None where the architecture gives no input.
    """

    parameters: int
    macs: int | None


def counted(whole: Callable[[], Whole]) -> Counted:
    """Sizes of what `whole` makes; it is called with the meta device as the default."""
    with torch.device("meta"), torch.no_grad():
        made = whole()
        parameters = sum(p.numel() for p in made.network.parameters())
        if not made.inputs:
            return Counted(parameters, None)
        with FlopCounterMode(display=False) as flops:
            made.network.eval()(*made.inputs)
    return Counted(parameters, flops.get_total_flops() // 2)
