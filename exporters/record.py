"""Recording reference calls: what the source framework answers, on several inputs and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from edgepack.exporters.sources.base import TorchPart
from edgepack.exporters.sources.inputs import other_sizes
from edgepack.toolchain.errors import ExportError, SourceError, not_finite
from edgepack.toolchain.program import Case, Signature, TensorSpec, size_of

if TYPE_CHECKING:
    import numpy as np


def record(part: TorchPart) -> tuple[list[Case], Signature]:
    """Call the source framework's model on three inputs, of two sizes and more where sizes may vary.

    Returns:
        The cases, and the signature with its outputs filled in.

    Raises:
        SourceError: forward raised, or returned something that is not tensors, or NaN.
        ExportError: Two calls with the same input gave different outputs.
    """
    where = part.where
    call = part.reference or part.module
    sets = [part.sizes, *part.size_sets] if part.size_sets else other_sizes(part.sizes, part.limits)
    cases: list[Case] = []
    names: list[str] = []
    for index, sizes in enumerate(sets):
        inputs = part.example(sizes, index)
        outputs = _call(call, inputs, part)
        names = list(outputs)
        if index == 0:
            _same_twice(outputs, _call(call, inputs, part), where)
        label = ", ".join(f"{k}={v}" for k, v in sizes.items()) or f"seed {index}"
        cases.append(Case(label, inputs, outputs))
    _finite(cases, part)
    outputs_spec = tuple(_output_spec(name, cases, sets) for name in names)
    return cases, Signature(part.signature.inputs, outputs_spec)


def flatten_outputs(result: object, where: str, names: Sequence[str] = ()) -> dict[str, Any]:
    """Tensors of a forward's result by name: a tensor, a sequence of tensors, or a mapping to tensors.

    Args:
        result: What forward returned.
        where: The model, for messages.
        names: Names of positional outputs, where the source knows them.

    Raises:
        SourceError: Something in it is not a tensor.
    """
    import torch

    if isinstance(result, torch.Tensor):
        return {names[0] if names else "output": result}
    if isinstance(result, Mapping):
        named = {str(k): v for k, v in result.items() if v is not None}
    elif isinstance(result, Sequence) and not isinstance(result, str):
        named = {
            (names[i] if i < len(names) else f"output_{i}"): v for i, v in enumerate(result) if v is not None
        }
    else:
        named = {"output": result}
    for name, value in named.items():
        if not isinstance(value, torch.Tensor):
            raise SourceError(
                f"The output '{name}' of forward is {type(value).__name__}, not a tensor",
                where=where,
                todo="Wrap the model so that forward returns a tensor, a tuple of tensors or a dict of tensors",
            )
    if not named:
        raise SourceError("forward returned no tensor", where=where)
    return named


def _call(call: Any, inputs: Mapping[str, np.ndarray], part: TorchPart) -> dict[str, np.ndarray]:
    import torch

    where = part.where

    try:
        with torch.no_grad():
            result = call(*(torch.from_numpy(value.copy()) for value in inputs.values()))
    except Exception as error:
        shapes = ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in inputs.items())
        raise SourceError(
            f"forward raised {type(error).__name__}: {error}",
            where=where,
            todo=f"It was called with {shapes}; give inputs that fit with --inputs",
        ) from error
    flat = flatten_outputs(result, where, part.output_names)
    return {name: value.detach().cpu().numpy() for name, value in flat.items()}


def _same_twice(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], where: str) -> None:
    import numpy as np

    for name, value in first.items():
        if value.shape != second[name].shape or not np.allclose(
            value, second[name], rtol=1e-4, atol=1e-5, equal_nan=True
        ):
            raise ExportError(
                f"Two calls with the same input gave different values of '{name}': forward draws random numbers "
                "or changes its own state",
                where=where,
                todo="Put the model in eval mode, and make noise or state an input of forward",
            )


def _finite(cases: Sequence[Case], part: TorchPart) -> None:
    import numpy as np

    where = part.where
    for case in cases:
        for name, value in case.outputs.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                bad = [key for key, tensor in part.module.state_dict().items() if not tensor.isfinite().all()]
                if bad:
                    raise not_finite(bad, where)
                raise SourceError(
                    f"The model's output '{name}' holds NaN or infinity for a plain random input",
                    where=where,
                    todo="Check its weights; a model that is broken before export cannot be verified after it",
                )


def _output_spec(name: str, cases: Sequence[Case], sets: Sequence[Mapping[str, int]]) -> TensorSpec:
    """A dimension that follows a named size, or the sum of two, over all cases bears its name.

    One that stays is a number; one that varies otherwise gets a name of its own.
    """
    arrays = [case.outputs[name] for case in cases]
    if len({array.ndim for array in arrays}) > 1:
        raise SourceError(f"The output '{name}' changes its number of dimensions with the input's size")
    shape: list[int | str] = []
    for axis in range(arrays[0].ndim):
        lengths = [int(array.shape[axis]) for array in arrays]
        sums = ["+".join(sorted(pair)) for pair in combinations(sets[0], 2)]
        follows = [
            dim
            for dim in (*sets[0], *sums)
            if all(length == size_of(dim, sizes) for length, sizes in zip(lengths, sets, strict=True))
        ]
        if len(set(lengths)) == 1 and not (follows and len({size_of(follows[0], s) for s in sets}) > 1):
            shape.append(lengths[0])
        else:
            shape.append(follows[0] if follows else f"{name}_{axis}")
    return TensorSpec(name, str(arrays[0].dtype), tuple(shape))
