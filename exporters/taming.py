"""Finding out what a model does besides computing its outputs, and making it a function of its inputs.

Calls with one input must agree, and a call must not depend on those before it. A model that does not keep
to this has its noise (`randomness`) and its state (`buffers`) made inputs; what cannot be is an error that
names it. A model that does keep to it costs a few calls and is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.buffers import Change, Snapshot, step
from edgepack.exporters.outputs import flatten_outputs, flattened
from edgepack.exporters.pairs.boundary import real_boundary
from edgepack.exporters.randomness import noise_inputs
from edgepack.exporters.record import call_forward, check_sizes
from edgepack.exporters.sources.inputs import other_sizes
from edgepack.toolchain.errors import ExportError, SourceError

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.sources.base import TorchModel, TorchPart
    from edgepack.toolchain.program import Call, StateLink

    Arrays = Mapping[str, np.ndarray]
    Tensors = dict[str, torch.Tensor]

_CALLS = 3
# As `record` judges it: two calls of one network differ by less.
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5


@dataclass
class _Tamed:
    """A part as a function, and what it took."""

    part: TorchPart
    notes: list[str] = field(default_factory=list)
    links: list[StateLink] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


def tamed(model: TorchModel) -> TorchModel:
    """The model with parts that are functions of their inputs and return a flat tuple of tensors.

    Args:
        model: As its source opened it. Left as it is.

    Returns:
        A model whose parts may have more inputs and outputs (noise, states), with links and a rollout for
        the states that were taken out, and with notes on all of it.

    Raises:
        SourceError: forward raised, changed a parameter, or returned what is not tensors.
        ExportError: A part draws random numbers or keeps a state that cannot be made an input.
        UsageError: A size beyond what the model allows.
    """
    alone = len(model.parts) == 1 and not model.links
    done = {name: _tame(name, part, alone=alone) for name, part in model.parts.items()}
    links = tuple(link for one in done.values() for link in one.links)
    calls = [call for one in done.values() for call in one.calls]
    notes = [
        note if len(done) == 1 else f"{name}: {note}" for name, one in done.items() for note in one.notes
    ]
    rollout = model.rollout if not calls else lambda: calls
    parts = {name: one.part for name, one in done.items()}
    return replace(
        model, parts=parts, notes=[*model.notes, *notes], links=(*model.links, *links), rollout=rollout
    )


def _tame(name: str, part: TorchPart, *, alone: bool) -> _Tamed:
    check_sizes(part)
    part, notes = _limited(part)
    seen = _Calls(part)
    if not seen.steady and seen.random():
        noisy, about = noise_inputs(part)
        seen.snapshot.restore()
        if noisy is part:
            raise _unknown_randomness(part)
        part, seen = noisy, _Calls(noisy)
        notes += about
        if not seen.steady and seen.random():
            raise _unknown_randomness(part)
    result = _Tamed(part, notes)
    if seen.changes or not seen.steady:
        states = seen.states()
        if states and not alone:
            raise ExportError(
                f"forward changes {states[0]}, in a model of several parts or with states of its own",
                where=f"{part.where}, part {name}",
                todo="Make it an input and an output of forward, with a StateLink between them",
            )
        notes += seen.notes
        if states:
            result.part, result.links, result.calls = step(name, part, states)
            tensors = [*seen.outputs(), *(change.after for change in states)]
            result.part, result.calls, about = real_boundary(
                result.part, tensors, result.part.output_names, result.calls
            )
            notes += about
            told = ", ".join(change.path for change in states)
            notes.append(
                f"forward changes {told}: inputs and outputs of a step, "
                f"verified over {len(result.calls)} calls in a row"
            )
            return result
    result.part, about = flattened(part, seen.result)
    notes += about
    names = list(flatten_outputs(seen.result, part.where, part.output_names))
    result.part, _, about = real_boundary(result.part, seen.outputs(), names)
    notes += about
    return result


def _limited(part: TorchPart) -> tuple[TorchPart, list[str]]:
    """The part with limits for the dimensions that cannot be larger than they are: a table of positions ends."""
    # Where the source knows the limits, and for batches, a call is saved.
    if part.size_sets or not set(part.sizes) - {"batch", *part.limits}:
        return part, []
    larger = other_sizes(part.sizes, part.limits)[-1]
    if _runs(part, larger):
        return part, []
    ends = {n: size for n, size in part.sizes.items() if not _runs(part, {**part.sizes, n: larger[n]})}
    if not ends:
        return part, []
    notes = [
        f"the dimension '{n}' goes up to {size}: forward raises for {larger[n]}" for n, size in ends.items()
    ]
    return replace(part, limits={**part.limits, **ends}), notes


def _runs(part: TorchPart, sizes: Mapping[str, int]) -> bool:
    snapshot = Snapshot(part.module, parameters=False)
    try:
        call_forward(part.module, part.example(sizes, 2), part)
    except SourceError:
        return False
    finally:
        snapshot.restore()
    return True


class _Calls:
    """A few calls of a part's module, and what they say of it.

    Attributes:
        snapshot: The module before the calls.
        steady: Whether calls with one input gave the same outputs.
        changes: What the calls changed in the module.
        result: What the first call returned.
        notes: What was found harmless.

    Raises:
        SourceError: forward changes a parameter.
    """

    def __init__(self, part: TorchPart) -> None:
        self.part = part
        self.notes: list[str] = []
        self.snapshot = Snapshot(part.module)
        self._inputs = part.example(part.sizes, 0)
        self.result = call_forward(part.module, self._inputs, part)
        outputs = [_tensors(self.result, part)]
        outputs += [self._call() for _ in range(_CALLS - 1)]
        self.steady = all(_equal(outputs[0], other) for other in outputs[1:])
        self.changes = self.snapshot.changes()
        _no_parameter(self.changes, part)

    def _call(self, inputs: Arrays | None = None) -> Tensors:
        return _tensors(call_forward(self.part.module, inputs or self._inputs, self.part), self.part)

    def outputs(self) -> list[torch.Tensor]:
        """The tensors that the first call returned, in order."""
        flat = flatten_outputs(self.result, self.part.where, self.part.output_names)
        return list(flat.values())

    def random(self) -> bool:
        """Whether torch's seed decides on the outputs; the module is left as it was found.

        Raises:
            ExportError: Neither the seed nor the module's own state does.
        """
        outputs = []
        for seed in (0, 0, 1):
            self.snapshot.restore()
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                outputs.append(self._call())
        self.snapshot.restore()
        if not _equal(outputs[0], outputs[1]):
            raise ExportError(
                "Two calls with the same input, state and torch seed gave different outputs: forward draws random "
                "numbers elsewhere than in torch (numpy, random), or depends on the order of a set or on a "
                "variable outside of the module",
                where=self.part.where,
                todo="Draw with torch, give outputs an order of their own, and keep state in registered buffers",
            )
        return not _equal(outputs[0], outputs[2])

    def states(self) -> list[Change]:
        """The changes that must become states; the module is left as it was found.

        Raises:
            ExportError: The outputs depend on something that changes and is no tensor.
        """
        part, other = self.part, self.part.example(self.part.sizes, 1)
        self.snapshot.restore()
        fresh = self._call(other)
        self.snapshot.restore()
        self._call()
        depends = not self.steady or not _equal(fresh, self._call(other))
        able = [change for change in self.changes if change.is_state]
        if not depends:
            self.snapshot.restore()
            states = [change for change in able if change.kind == "buffer"]
            lost = [c.path for c in self.changes if c.kind == "buffer" and not c.is_state]
            if lost:
                self.notes.append(f"forward changes {', '.join(lost)} and no output depends on it: left out")
            return states
        unable = [change for change in self.changes if not change.is_state]
        if unable or not able:
            # Do the outputs depend on what is no tensor? Put back the tensors only.
            self.snapshot.restore()
            self._call()
            self.snapshot.restore({change.path for change in able})
            if not able or not _equal(fresh, self._call(other)):
                self.snapshot.restore()
                raise _no_state(unable, part)
        self.snapshot.restore()
        return able


def _no_state(changes: Sequence[Change], part: TorchPart) -> ExportError:
    if not changes:
        return ExportError(
            "forward's outputs depend on earlier calls, by something outside of the module",
            where=part.where,
            todo="Keep state in registered buffers, or make it an input and an output of forward",
        )
    return ExportError(
        f"forward changes {changes[0]}, and its outputs depend on it: several calls differ",
        where=part.where,
        todo="Make it a registered buffer that keeps its shape and dtype, or an input and an output of forward",
    )


def _unknown_randomness(part: TorchPart) -> ExportError:
    return ExportError(
        "forward draws random numbers in a way that was not found",
        where=part.where,
        todo="Draw with torch's own functions, or hand the noise to forward as an input",
    )


def _tensors(result: object, part: TorchPart) -> Tensors:
    """The outputs of a call, copied: a later call may write over them."""
    flat = flatten_outputs(result, part.where, part.output_names)
    return {name: value.detach().clone() for name, value in flat.items()}


def _equal(a: Tensors, b: Tensors) -> bool:
    return sorted(a) == sorted(b) and all(
        value.shape == b[name].shape
        and torch.allclose(_wide(value), _wide(b[name]), _RELATIVE, _ABSOLUTE, equal_nan=True)
        for name, value in a.items()
    )


def _wide(value: torch.Tensor) -> torch.Tensor:
    return value if value.is_complex() or value.dtype == torch.float32 else value.double()


def _no_parameter(changes: Sequence[Change], part: TorchPart) -> None:
    changed = [change.path for change in changes if change.kind == "parameter"]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise SourceError(
            f"forward changes its own parameter '{changed[0]}'{more}",
            where=part.where,
            todo="Make what changes in forward a buffer, or leave the change out",
        )
