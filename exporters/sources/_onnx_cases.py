"""Reference calls for an ONNX file: the examples that lie beside it, and made-up inputs of other sizes.

Three calls are wanted. Made-up inputs are kept only if the model runs on them and answers with finite
numbers: a size may be declared as free and in truth be tied to another, and the logarithm of a normally
distributed number is mostly none. The first call must run; what had to be left out is noted. A model that draws
random numbers is refused: nothing that is made of it could be compared with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from edgepack.exporters.sources._onnx_examples import Example, more_like
from edgepack.exporters.sources._onnx_reference import Run, agree, words
from edgepack.exporters.sources.inputs import other_sizes, random_inputs
from edgepack.toolchain import opsets
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.finite import sound
from edgepack.toolchain.program import Case, Signature, is_sum

if TYPE_CHECKING:
    import numpy as np
    import onnx

_WANTED = 3
_REPEATED_RELATIVE = 1e-3
_DRAWING = frozenset(
    {
        "Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
        "RandomUniformLike",
    }
)  # fmt: skip
_SHIPPED_RELATIVE = 1e-2
"""Shipped outputs further off than this, relative to the largest value, are worth a note."""


def from_examples(
    run: Run, signature: Signature, found: Sequence[Example], where: str
) -> tuple[list[Case], list[str]]:
    """The examples as cases, then calls like the first one; with notes.

    Raises:
        SourceError: The model does not run on an example.
    """
    cases, notes = [], []
    for label, inputs, shipped in found:
        try:
            outputs = run(inputs)
        except Exception as error:
            raise SourceError(
                f"The model does not run on its example ({label}): {words(error)}",
                where=where,
                todo="Mend the example, or remove the folder: random inputs are made then",
            ) from error
        if not agree(
            {name: value for name, value in shipped.items() if name in outputs}, outputs, _SHIPPED_RELATIVE
        ):
            notes.append(f"{label}: ONNX Runtime's outputs differ from those beside the model")
        cases.append(Case(label, inputs, outputs))
    sizes = _sizes(signature, cases[0].inputs, where)
    for seed, wanted in enumerate(other_sizes(sizes)):
        # Of the example's own size only when nothing varies: values are shuffled, then.
        if len(cases) < _WANTED and signature.inputs and (wanted != sizes or not sizes):
            inputs = more_like(cases[0].inputs, signature.inputs, wanted, seed)
            case = _tried(run, f"like the example, {_label(wanted, seed)}", inputs)
            if case is not None:
                cases.append(case)
    if len(cases) < _WANTED and signature.inputs:
        notes.append(f"verified on {len(cases)} inputs: the model takes no others like its example")
    return cases, notes


def made_up(
    run: Run, signature: Signature, sizes: Mapping[str, int], upper: Mapping[str, int], where: str
) -> tuple[list[Case], list[str]]:
    """Cases with random inputs, the first of the sizes given; with notes.

    Args:
        run: The model.
        signature: Its inputs.
        sizes: Sizes of the named dimensions of the first case.
        upper: Exclusive upper bounds of integer inputs.
        where: The file, for messages.

    Raises:
        SourceError: The model does not run on the first inputs.
    """
    cases: list[Case] = []
    notes: list[str] = []
    for seed, wanted in enumerate(other_sizes(sizes)):
        tries = _tries(signature, wanted, seed, upper)
        if seed:
            # Declared as free and in truth tied to a size: verify on what the model does take.
            tries = [*tries, *_tries(signature, sizes, seed, upper)]
        case, failure = _first_sound(run, tries)
        if case is not None:
            cases.append(case)
        elif not seed:
            raise SourceError(
                f"The model does not run on random inputs ({_label(wanted, seed)}): "
                f"{words(failure) if failure else 'no reason given'}",
                where=where,
                todo='Give sizes that fit with --inputs "name:dtype[1,seq=128]", or examples in test_data_set_0',
            ) from failure
        else:
            notes.append(f"left out as a reference: {_label(wanted, seed)}")
    return cases, notes


def may_draw(model: onnx.ModelProto) -> bool:
    """Whether the model has an operator whose results may be random."""
    return any(node.op_type in _DRAWING for node in opsets.nodes(model))


def check_repeatable(run: Run, case: Case, where: str) -> None:
    """Raise unless a second call with the same inputs gives the same.

    Raises:
        SourceError: The model draws random numbers.
    """
    if not agree(case.outputs, run(case.inputs), _REPEATED_RELATIVE):
        raise SourceError(
            "Two calls with the same input gave different outputs: the model draws random numbers",
            where=where,
            todo="Export it for inference (Dropout without training_mode), and make noise an input",
        )


def _tries(
    signature: Signature, sizes: Mapping[str, int], seed: int, upper: Mapping[str, int]
) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Normally distributed inputs, and their absolute values."""
    import numpy as np

    label = _label(sizes, seed)
    normal = random_inputs(signature.inputs, sizes, seed, upper)
    positive = {name: np.abs(value) if value.dtype.kind == "f" else value for name, value in normal.items()}
    return [(label, normal), (f"{label}, positive", positive)]


def _first_sound(
    run: Run, tries: Sequence[tuple[str, dict[str, np.ndarray]]]
) -> tuple[Case | None, Exception | None]:
    """The first call with finite outputs, else the first that ran, else the first failure."""
    ran: Case | None = None
    failure: Exception | None = None
    for label, inputs in tries:
        try:
            case = Case(label, inputs, run(inputs))
        except Exception as error:  # noqa: BLE001 - the runtime's errors have no common ancestor
            failure = failure or error
            continue
        if _sound(case):
            return case, None
        ran = ran or case
    return ran, failure


def _tried(run: Run, label: str, inputs: dict[str, np.ndarray]) -> Case | None:
    try:
        case = Case(label, inputs, run(inputs))
    except Exception:  # noqa: BLE001 - the runtime's errors have no common ancestor
        return None
    return case if _sound(case) else None


def _sound(case: Case) -> bool:
    return all(sound(value) for value in case.outputs.values() if value.dtype.kind == "f")


def _sizes(signature: Signature, inputs: Mapping[str, np.ndarray], where: str) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, size in _named(signature, inputs):
        if sizes.setdefault(name, size) != size:
            raise SourceError(
                f"In the example the dimension '{name}' has the two sizes {sizes[name]} and {size}",
                where=where,
                todo="Give the dimensions two names, or mend the example",
            )
    return sizes


def _named(signature: Signature, inputs: Mapping[str, np.ndarray]) -> Iterator[tuple[str, int]]:
    for spec in signature.inputs:
        for dim, size in zip(spec.shape, inputs[spec.name].shape, strict=True):
            if isinstance(dim, str) and not is_sum(dim):
                yield dim, int(size)


def _label(sizes: Mapping[str, int], seed: int) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items()) or f"seed {seed}"
