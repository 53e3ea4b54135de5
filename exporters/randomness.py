"""Random numbers drawn in forward, taken out of it: noise becomes inputs of the part.

The graph then computes a function of its inputs (`standard_noise` has the formulas), and whoever runs it hands in the
noise, seeded or not as they like.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from edgepack.exporters.outputs import named_shape
from edgepack.exporters.sources.base import TorchPart
from edgepack.exporters.sources.inputs import other_sizes
from edgepack.exporters.standard_noise import NORMAL, drawing
from edgepack.toolchain.errors import ExportError
from edgepack.toolchain.program import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Draw:
    """One draw of noise: its kind and its shape in one call."""

    kind: str
    shape: tuple[int, ...]


class Noisy(torch.nn.Module):
    """A module whose last inputs are the noise that it draws, in the order in which it does.

    Args:
        module: A module that draws.
        count: How many draws a call makes.
        where: The model, for messages.
    """

    def __init__(self, module: torch.nn.Module, count: int, where: str) -> None:
        super().__init__()
        self.module = module
        self._count = count
        self._where = where

    def forward(self, *arguments: torch.Tensor) -> Any:
        """The module's inputs, then its noise; what the module returns."""
        split = len(arguments) - self._count
        noise = iter(arguments[split:])
        with drawing(lambda _, __: next(noise), self._where):
            return self.module(*arguments[:split])


def draws(module: torch.nn.Module, inputs: Sequence[torch.Tensor], where: str) -> list[Draw]:
    """What one call draws.

    Raises:
        ExportError: A random function that has no formula here.
    """
    found: list[Draw] = []

    def standard(kind: str, shape: Sequence[int]) -> torch.Tensor:
        found.append(Draw(kind, tuple(int(n) for n in shape)))
        make = torch.randn if kind == NORMAL else torch.rand
        return make(tuple(shape), dtype=torch.float32)

    with torch.no_grad(), drawing(standard, where):
        module(*inputs)
    return found


def noise_inputs(part: TorchPart) -> tuple[TorchPart, list[str]]:
    """The part with the noise that it draws as inputs "noise_0", "noise_1", ...

    Returns:
        The part, the very same when it draws nothing, and a note for every input.

    Raises:
        ExportError: It draws by a function that has no formula here, another number of times for other
            inputs, or in a shape that does not follow from the inputs' sizes.
    """
    sets = [part.sizes, *part.size_sets] if part.size_sets else other_sizes(part.sizes, part.limits)
    seen = []
    for index, sizes in enumerate(sets):
        arrays = part.example(sizes, index)
        seen.append(draws(part.module, [torch.from_numpy(v.copy()) for v in arrays.values()], part.where))
    first = seen[0]
    if not first:
        return part, []
    if any([d.kind for d in one] != [d.kind for d in first] for one in seen):
        raise ExportError(
            f"forward draws random numbers {', '.join(str(len(one)) for one in seen)} times for different inputs",
            where=part.where,
            todo="Draw the same number of times in every call, or hand the noise to forward as an input",
        )
    specs = _specs(part, seen, sets)

    def example(sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        import numpy as np

        rng = np.random.default_rng([seed, len(specs)])
        made = part.example(sizes, seed)
        for spec, draw in zip(specs, first, strict=True):
            shape = spec.resolve(sizes)
            made[spec.name] = (
                rng.standard_normal(shape, np.float32)
                if draw.kind == NORMAL
                else rng.random(shape, np.float32)
            )
        return made

    noisy = Noisy(part.module, len(specs), part.where).eval()
    signature = Signature((*part.signature.inputs, *specs), ())
    notes = [
        f"forward draws random numbers: the input {spec} takes them, {draw.kind}, new ones for every call"
        for spec, draw in zip(specs, first, strict=True)
    ]
    return dataclasses.replace(
        part, module=noisy, reference=None, signature=signature, example=example
    ), notes


def _specs(
    part: TorchPart, seen: Sequence[Sequence[Draw]], sets: Sequence[Mapping[str, int]]
) -> list[TensorSpec]:
    """The inputs that noise becomes, of what was drawn for each of `sets`.

    Raises:
        ExportError: A shape does not follow from the inputs' sizes.
    """
    specs: list[TensorSpec] = []
    for i, draw in enumerate(seen[0]):
        name = f"noise_{i}"
        shape = named_shape(name, [one[i].shape for one in seen], sets)
        loose = [dim for dim in shape if isinstance(dim, str) and dim.startswith(f"{name}_")]
        if loose:
            raise ExportError(
                f"forward draws noise ({draw.kind}) in a shape that follows no size of its inputs: "
                f"{', '.join(str(list(one[i].shape)) for one in seen)}",
                where=part.where,
                todo="Draw in the shape of an input, or hand the noise to forward as an input",
            )
        specs.append(TensorSpec(name, "float32", shape))
    return specs
