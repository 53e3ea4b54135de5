"""What one input costs in operations and a network in bits: counted, not measured.

    storage ratio    r_c = P / (B / 32 + F)                 P = B + F parameters, B of one bit, F of 32 bits
    operation ratio  r_s = M / (M_B / 64 + M_F)             M = M_B + M_F multiply-adds of the float network

M_B multiply-adds are done on bits, 64 at once in a word: this is the count of the literature on binary networks (Liu et
al. 2018; Liu et al. 2020) and, as far as we know it, BiBench's. Operations are those of matrix products and
convolutions, attention's included, as torch's counter sees them; sums, norms and activation functions are not counted.
Parameters that a method adds count as F, in both networks what training alone needs is left out.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edgepack.toolchain.bibench.results import Complexity

WORD = 64
FLOAT_BITS = 32


def count(baseline: nn.Module, frozen: nn.Module | None, binary: Collection[str], one: Tensor) -> Complexity:
    """Of a binary network beside the float one, or of the float one alone.

    Args:
        baseline: The float network.
        frozen: The binary one as it ships; None for the float network itself.
        binary: Names of the float network's layers that became binary.
        one: A batch of one input.
    """
    layers = {name: baseline.get_submodule(name) for name in binary}
    macs = layer_macs(baseline, layers, one)
    total = multiply_adds(baseline, one)
    parameters = sum(value.numel() for value in baseline.parameters())
    weights = sum(
        layer.weight.numel() for layer in layers.values() if isinstance(layer, nn.Linear | nn.Conv2d)
    )
    on_bits = sum(macs.values())
    if frozen is None:
        floats = parameters
    else:
        floats = sum(value.numel() for value in frozen.parameters())
        floats += sum(value.numel() for value in frozen.buffers() if value.is_floating_point())
        floats -= _statistics(frozen)
    return Complexity(
        binary_macs=on_bits,
        float_macs=total - on_bits,
        binary_weights=weights,
        float_parameters=floats,
        operation_ratio=total / (on_bits / WORD + total - on_bits),
        storage_ratio=parameters / (weights / FLOAT_BITS + floats),
    )


def multiply_adds(network: nn.Module, one: Tensor) -> int:
    """Of all matrix products and convolutions for one input."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(one)
    return int(counter.get_total_flops()) // 2


def layer_macs(network: nn.Module, layers: dict[str, nn.Module], one: Tensor) -> dict[str, int]:
    """Multiply-adds of some linear layers and convolutions for one input."""
    found: dict[str, int] = {}
    hooks = []
    for name, layer in layers.items():

        def note(module: nn.Module, _inputs: object, output: Tensor, name: str = name) -> None:
            weight = module.get_parameter("weight")
            found[name] = output.numel() * weight[0].numel()

        hooks.append(layer.register_forward_hook(note))
    try:
        with torch.no_grad():
            network(one)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _statistics(network: nn.Module) -> int:
    """Means and variances of norms that were not folded: not parameters, in the float network neither."""
    return sum(
        value.numel()
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)  # noqa: SLF001 - the base of all of them
        for value in module.buffers(recurse=False)
        if value.is_floating_point()
    )
