"""Recording reference calls: what the source framework answers, on several inputs and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgepack.exporters.sources.inputs import check_numpy, other_sizes
from edgepack.toolchain.errors import ExportError, SourceError, UsageError, not_finite
from edgepack.toolchain.finite import sound
from edgepack.toolchain.program import Case, Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.sources.base import TorchPart

    Arrays = Mapping[str, np.ndarray]


def record(part: TorchPart) -> tuple[list[Case], Signature]:
    """Call the source framework's model on three inputs, of two sizes and more where sizes may vary.

    Of the second input, floats that have both signs get the sign of their sum turned against the first's:
    a branch on it that was frozen shows.

    Returns:
        The cases, and the signature with its outputs filled in.

    Raises:
        SourceError: forward raised, or returned something that is not tensors, or NaN.
        ExportError: Two calls with the same input gave different outputs.
        UsageError: A size beyond the model's limit.
    """
    from edgepack.exporters.outputs import named_shape

    check_sizes(part)
    call = part.reference or part.module
    sets = [part.sizes, *part.size_sets] if part.size_sets else other_sizes(part.sizes, part.limits)
    cases: list[Case] = []
    for index, sizes in enumerate(sets):
        inputs = part.example(sizes, index)
        label = ", ".join(f"{k}={v}" for k, v in sizes.items()) or f"seed {index}"
        turned = opposed(part, cases[0].inputs, inputs, sizes) if index == 1 else None
        case = (
            Case(label, inputs, answers(call, inputs, part))
            if turned is None
            else _either(call, part, label, turned, inputs)
        )
        if index == 0:
            _same_twice(case.outputs, answers(call, inputs, part), part.where)
        elif sorted(case.outputs) != sorted(cases[0].outputs):
            raise ExportError(
                f"forward returned {', '.join(cases[0].outputs)} for one input, and for another "
                f"{', '.join(case.outputs)}",
                where=part.where,
                todo="Return the same tensors in every call",
            )
        cases.append(case)
    _finite(cases, part)
    outputs = tuple(
        TensorSpec(name, str(value.dtype), named_shape(name, [c.outputs[name].shape for c in cases], sets))
        for name, value in cases[0].outputs.items()
    )
    return cases, Signature(part.signature.inputs, outputs)


def check_sizes(part: TorchPart) -> None:
    """Raise unless the part's sizes lie within its limits.

    Raises:
        UsageError: The dimension and its limit.
    """
    for sizes in (part.sizes, *part.size_sets):
        for name, size in sizes.items():
            if size > part.limits.get(name, size):
                raise UsageError(
                    f"The dimension '{name}' is {size}, and the model takes {part.limits[name]} at most",
                    where=part.where,
                    todo=f"Give a size of {name} up to {part.limits[name]}",
                )


def call_forward(call: Any, inputs: Arrays, part: TorchPart) -> Any:
    """What forward returns for `inputs`, which are copied.

    Raises:
        SourceError: forward raised.
    """
    import torch

    try:
        with torch.no_grad():
            return call(*(torch.from_numpy(value.copy()) for value in inputs.values()))
    except (SourceError, UsageError):
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in inputs.items())
        raise SourceError(
            f"forward raised {type(error).__name__}: {error}",
            where=part.where,
            todo=f"It was called with {shapes}; give inputs that fit with --inputs",
        ) from error


def answers(call: Any, inputs: Arrays, part: TorchPart) -> dict[str, np.ndarray]:
    """Outputs by name of one call of `call`, a module or a reference.

    Raises:
        SourceError: forward raised, or returned something that is not tensors.
    """
    from edgepack.exporters.outputs import flatten_outputs

    flat = flatten_outputs(call_forward(call, inputs, part), part.where, part.output_names)
    for name, value in flat.items():
        check_numpy(value, f"output '{name}' of forward", part.where)
    return {name: value.detach().cpu().numpy().copy() for name, value in flat.items()}


def opposed(
    part: TorchPart, first: Arrays, inputs: Arrays, sizes: Mapping[str, int]
) -> dict[str, np.ndarray] | None:
    """`inputs` with every free float's sum of the other sign than in `first`; None where it is already.

    States, values that no seed changes (masks), and those of one sign only (probabilities) stay.
    """
    turned = dict(inputs)
    for name in free_floats(part, sizes):
        value = inputs[name]
        if value.min() < 0 < value.max() and (value.sum() > 0) == (first[name].sum() > 0):
            turned[name] = -value
    return turned if any(turned[name] is not inputs[name] for name in inputs) else None


def free_floats(part: TorchPart, sizes: Mapping[str, int]) -> list[str]:
    """Floating-point inputs whose values may be anything: not states, not noise, and random with the seed."""
    import numpy as np

    one, two = part.example(sizes, 1), part.example(sizes, 2)
    return [
        name
        for name, value in one.items()
        if value.dtype.kind == "f"
        and value.size
        and name not in part.initial
        and not name.startswith("noise_")
        and not np.array_equal(value, two[name])
    ]


def _either(call: Any, part: TorchPart, label: str, turned: Arrays, inputs: Arrays) -> Case:
    """The call with the turned inputs, or with those as they were where the model cannot take it."""
    try:
        outputs = answers(call, turned, part)
    except SourceError:
        outputs = {}
    if outputs and all(sound(value) for value in outputs.values() if value.dtype.kind == "f"):
        return Case(label, dict(turned), outputs)
    return Case(label, dict(inputs), answers(call, inputs, part))


def _same_twice(first: Arrays, second: Arrays, where: str) -> None:
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
    where = part.where
    for case in cases:
        for name, value in case.outputs.items():
            if value.dtype.kind == "f" and not sound(value):
                bad = [key for key, tensor in part.module.state_dict().items() if not tensor.isfinite().all()]
                if bad:
                    raise not_finite(bad, where)
                raise SourceError(
                    f"The model's output '{name}' holds NaN or infinity for a plain random input",
                    where=where,
                    todo="Check its weights; a model that is broken before export cannot be verified after it",
                )
