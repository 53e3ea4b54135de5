"""Complex inputs, states and outputs of a part as real tensors with a last axis of 2: real part, imaginary part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map

from edgepack.toolchain.program import Call, Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.sources.base import TorchPart

_PARTS = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}


class Paired(torch.nn.Module):
    """A module whose complex inputs come and whose complex outputs go as pairs.

    Args:
        module: Takes and returns tensors, the outputs as a flat tuple or one tensor.
        complex_inputs: Which inputs are complex.
    """

    def __init__(self, module: Any, complex_inputs: Sequence[bool]) -> None:
        super().__init__()
        self.module = module
        self._complex = tuple(complex_inputs)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Inputs in order; outputs in order."""
        taken = [
            torch.view_as_complex(value.contiguous()) if is_complex else value
            for value, is_complex in zip(inputs, self._complex, strict=True)
        ]
        return tree_map(_real, self.module(*taken))


def _real(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_complex():
        return torch.view_as_real(value.resolve_conj())
    return value


def real_boundary(
    part: TorchPart, result: Sequence[torch.Tensor], names: Sequence[str], calls: Sequence[Call] = ()
) -> tuple[TorchPart, list[Call], list[str]]:
    """The part with real inputs and outputs, the very same where they are so already.

    Args:
        part: Its module returns a flat tuple or one tensor.
        result: The tensors that it returned in one call.
        names: Their names.
        calls: A rollout.

    Returns:
        The part, the rollout and a note on what is complex.
    """
    inputs = [spec.dtype in _PARTS for spec in part.signature.inputs]
    outputs = [name for name, value in zip(names, result, strict=True) if value.is_complex()]
    if not any(inputs) and not outputs:
        return part, list(calls), []
    taken = [s.name for s, is_complex in zip(part.signature.inputs, inputs, strict=True) if is_complex]
    specs = tuple(
        TensorSpec(s.name, _PARTS[s.dtype], (*s.shape, 2)) if s.dtype in _PARTS else s
        for s in part.signature.inputs
    )
    example: Callable[[Mapping[str, int], int], dict[str, np.ndarray]] = part.example
    reference = part.reference
    made = replace(
        part,
        module=Paired(part.module, inputs).eval(),
        reference=None if reference is None else Paired(reference, inputs),
        signature=Signature(specs, ()),
        example=lambda sizes, seed: pairs(example(sizes, seed)),
        initial=pairs(part.initial),
    )
    told = [f"the input{'s' * (len(taken) > 1)} {', '.join(taken)}"] if taken else []
    told += [f"the output{'s' * (len(outputs) > 1)} {', '.join(outputs)}"] if outputs else []
    note = f"complex: {' and '.join(told)}, as a last axis of 2, real part and imaginary part"
    real_calls = [Call(call.part, pairs(call.inputs), pairs(call.outputs)) for call in calls]
    return made, real_calls, [note]


def pairs(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays, complex ones with a last axis of 2."""
    import numpy as np

    return {
        name: np.stack([value.real, value.imag], -1) if np.iscomplexobj(value) else value
        for name, value in arrays.items()
    }
