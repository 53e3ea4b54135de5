"""Building a `TorchModel` by hand: parts from modules and input specifications.

For models of several parts, or with states, that no other source knows how to take apart:

    decode = torch_part(Decode(net), "ids:int64[batch=2,step=2]", "past:float32[batch,4,past=5,16]", ...)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgepack.exporters.sources.base import TorchPart
from edgepack.exporters.sources.inputs import parse, random_inputs
from edgepack.toolchain.program import Signature

if TYPE_CHECKING:
    import numpy as np
    import torch


def torch_part(  # noqa: PLR0913 - a part is that many things, all but two optional
    module: torch.nn.Module,
    *inputs: str,
    outputs: Sequence[str],
    where: str = "model",
    upper: Mapping[str, int] | None = None,
    fixed: Mapping[str, Callable[[tuple[int, ...]], np.ndarray]] | None = None,
    limits: Mapping[str, int] | None = None,
    size_sets: Sequence[Mapping[str, int]] = (),
    reference: Callable[..., Any] | None = None,
    initial: Mapping[str, np.ndarray] | None = None,
) -> TorchPart:
    """A part with random example inputs.

    Args:
        module: Called by position in the order of `inputs`; put in eval mode.
        inputs: Specifications such as "ids:int64[batch=2,step=2]" (see `sources.inputs`). Sizes are those
            that the graph is traced with: 2 or more for every dimension that may vary.
        outputs: Names of what it returns.
        where: The model, for messages.
        upper: Exclusive upper bound of an integer input by name, such as a vocabulary.
        fixed: Makes the value of an input from its shape, where random values would not do (masks).
        limits: Largest legal size of a named dimension.
        size_sets: Sizes of the other reference cases; made up when empty.
        reference: The source framework's own answer, where `module` is a rewrite.
        initial: Values of state inputs before the first call, where they are not zeros.

    Raises:
        UsageError: A specification is not of the form.
    """
    specs, sizes = parse(inputs)

    def example(wanted: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        made = random_inputs(specs, wanted, seed, upper)
        for spec in specs:
            if fixed and spec.name in fixed:
                made[spec.name] = fixed[spec.name](spec.resolve(wanted)).astype(spec.dtype)
        return made

    return TorchPart(
        module.eval(), Signature(specs, ()), example, where, reference, sizes, dict(limits or {}),
        tuple(outputs), tuple(dict(sizes) for sizes in size_sets), dict(initial or {}),
    )  # fmt: skip
