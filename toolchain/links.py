"""State links: are they typed as they must be, and playing calls through them.

A link is sound when both ends exist, have one dtype and rank, and agree in every dimension that is a
number on both sides. Named dimensions may differ: a cache comes in as "past" and leaves as "past+step".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import ExportError, UsageError
from edgepack.toolchain.program import Program, Signature, StateLink, TensorSpec, size_of, terms

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]
    Run = Callable[[str, Arrays], Mapping[str, np.ndarray]]


def check_links(program: Program) -> None:
    """Raise unless every state link joins an output to an input of its kind.

    Raises:
        ExportError: A part, an output or an input that does not exist, or dtypes or shapes that disagree.
    """
    where = str(program.source.get("location", "program"))
    for link in program.links:
        out = _end(program, link.from_part, link.output, where, inputs=False)
        into = _end(program, link.to_part, link.input, where, inputs=True)
        trouble = _disagreement(out, into)
        if trouble:
            raise ExportError(
                f"The state link from '{link.output}' of part '{link.from_part}' to '{link.input}' of part "
                f"'{link.to_part}' joins tensors that disagree: {trouble}",
                where=where,
                todo="A state's output must have the dtype and shape of the input that it feeds",
            )


def _end(program: Program, part: str, name: str, where: str, *, inputs: bool) -> TensorSpec:
    if part not in program.parts:
        raise ExportError(
            f"A state link names the part '{part}', which the program does not have",
            where=where,
            todo=f"Its parts are {', '.join(program.parts)}",
        )
    signature = program.parts[part].signature
    specs = {spec.name: spec for spec in (signature.inputs if inputs else signature.outputs)}
    if name not in specs:
        kind = "input" if inputs else "output"
        raise ExportError(
            f"A state link names the {kind} '{name}', which the part '{part}' does not have",
            where=where,
            todo=f"Its {kind}s are {', '.join(specs) or 'none'}",
        )
    return specs[name]


def _disagreement(out: TensorSpec, into: TensorSpec) -> str | None:
    if out.dtype != into.dtype:
        return f"dtype {out.dtype} and {into.dtype}"
    if len(out.shape) != len(into.shape):
        return f"{len(out.shape)} and {len(into.shape)} dimensions"
    for axis, (a, b) in enumerate(zip(out.shape, into.shape, strict=True)):
        if isinstance(a, int) and isinstance(b, int) and a != b:
            return f"{list(out.shape)} and {list(into.shape)} in dimension {axis}"
        # A number that must hold whatever comes would break the second call.
        if isinstance(a, str) and isinstance(b, int):
            return f"dimension {axis} varies ({a}) where the input takes {b} only"
    return None


class StatefulProgram:
    """A program's parts called in turn; what state links carry is kept between the calls.

    Args:
        signatures: Of every part that is called.
        links: State links; those from or to other parts are ignored.
        run: Runs a part: `run(part, inputs) -> outputs by name`.
        initial: Values of state inputs before the first call, by part, where they are not zeros.
    """

    def __init__(
        self,
        signatures: Mapping[str, Signature],
        links: Iterable[StateLink],
        run: Run,
        initial: Mapping[str, Arrays] | None = None,
    ) -> None:
        self.signatures = dict(signatures)
        self._links: dict[str, list[StateLink]] = {name: [] for name in self.signatures}
        self._states: dict[str, set[str]] = {name: set() for name in self.signatures}
        for link in links:
            if link.from_part in self.signatures and link.to_part in self.signatures:
                self._links[link.from_part].append(link)
                self._states[link.to_part].add(link.input)
        self._run = run
        self._initial = initial or {}
        self._now: dict[tuple[str, str], np.ndarray] = {}

    def reset(self) -> None:
        """Forget every state."""
        self._now.clear()

    def feed(self, part: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """All inputs of a part's next call: those given, and its states.

        Raises:
            UsageError: An unknown part, or an input that is neither given nor a state.
        """
        if part not in self.signatures:
            raise UsageError(
                f"The program has no part '{part}'", todo=f"Its parts are {', '.join(self.signatures)}"
            )
        signature = self.signatures[part]
        full: dict[str, np.ndarray] = {}
        for spec in signature.inputs:
            if spec.name in inputs:
                full[spec.name] = inputs[spec.name]
            elif spec.name in self._states[part]:
                now = self._now.get((part, spec.name))
                full[spec.name] = now if now is not None else self._first(part, spec, inputs)
            else:
                raise UsageError(
                    f"The input '{spec.name}' of part '{part}' is missing",
                    todo="Give every input that is no state",
                )
        return full

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """One call of a program that has one part.

        Raises:
            UsageError: It has several, which are called by their names.
        """
        if len(self.signatures) > 1:
            raise UsageError(
                f"The program has the parts {', '.join(self.signatures)}",
                todo="Use program.call(part, inputs)",
            )
        return self.call(next(iter(self.signatures)), inputs)

    def call(self, part: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """One call of a part; its linked outputs become the states of the calls that follow."""
        outputs = dict(self._run(part, self.feed(part, inputs)))
        for link in self._links[part]:
            self._now[link.to_part, link.input] = outputs[link.output]
        return outputs

    def _first(self, part: str, spec: TensorSpec, inputs: Arrays) -> np.ndarray:
        import numpy as np

        given = self._initial.get(part, {})
        if spec.name in given:
            return given[spec.name]
        sizes = dict.fromkeys((name for dim in spec.shape for name in terms(dim)), 0)
        for other in self.signatures[part].inputs:
            if other.name in inputs:
                for dim, length in zip(other.shape, inputs[other.name].shape, strict=True):
                    if isinstance(dim, str) and dim in sizes:
                        sizes[dim] = length
        return np.zeros([size_of(dim, sizes) for dim in spec.shape], np.dtype(spec.dtype))
