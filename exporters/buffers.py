"""What forward changes in its own module, and a stateful module as a step with its state outside.

    y_t, s_{t+1} = f(x_t, s_t)

A module that updates a buffer in forward, in place or by assigning another tensor, is such an f with s
inside. Traced as it is, the update is lost or the value of the first call is frozen. Here s is taken out:
the wrapper puts the state inputs in the buffers' places, calls the module, and returns what stands there
afterwards. A `StateLink` feeds it back, and the rollout compares calls in a row with the untouched module.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from edgepack.exporters.outputs import flatten_outputs
from edgepack.exporters.sources.base import TorchPart
from edgepack.toolchain.errors import ExportError
from edgepack.toolchain.program import Call, Signature, StateLink, TensorSpec

if TYPE_CHECKING:
    import numpy as np

CALLS = 32
"""Calls in a row of a rollout."""

# What torch itself keeps in a module's dictionary; parameters, buffers and children are looked at apart.
_OWN = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_is_full_backward_hook")
_CONTAINERS = (list, dict, set)
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Change:
    """One thing of a module that calls changed.

    Attributes:
        path: "layer.running": the module's path and the name in it.
        kind: "parameter", "buffer" or "attribute".
        before: Its value before; a copy where it is a tensor.
        after: Its value after.
    """

    path: str
    kind: str
    before: Any
    after: Any

    @property
    def is_state(self) -> bool:
        """Whether it can be an input and an output: a tensor before and after, of one shape and dtype."""
        a, b = self.before, self.after
        return (
            isinstance(a, torch.Tensor)
            and isinstance(b, torch.Tensor)
            and a.shape == b.shape
            and a.dtype == b.dtype
        )

    def __str__(self) -> str:
        return f"the {self.kind} '{self.path}' ({_told(self.before)} before, {_told(self.after)} after)"


class Snapshot:
    """A module's buffers, attributes and a fingerprint of its parameters, to compare with and to go back to.

    Args:
        module: Parameters are not copied: changes to them are found and cannot be undone.
        parameters: Whether to look at parameters, which means reading them all.
    """

    def __init__(self, module: torch.nn.Module, *, parameters: bool = True) -> None:
        self._module = module
        self._buffers = {
            path: (value, value.clone())
            for path, owner, name in _tensors(module, "_buffers")
            if isinstance(value := owner._buffers[name], torch.Tensor)  # noqa: SLF001
        }
        self._parameters = {path: fingerprint(p) for path, p in module.named_parameters() if parameters}
        self._attributes = {
            f"{path}.{name}" if path else name: (owner, name, value, _copy(value))
            for path, owner in module.named_modules()
            for name, value in vars(owner).items()
            if _looked_at(name, value)
        }
        self._known = {id(owner): set(vars(owner)) for owner in module.modules()}

    def changes(self) -> list[Change]:
        """What differs now, parameters first."""
        found = [
            Change(path, "parameter", None, None)
            for path, p in self._module.named_parameters()
            if path in self._parameters and self._parameters[path] != fingerprint(p)
        ]
        for path, owner, name in _tensors(self._module, "_buffers"):
            now = owner._buffers[name]  # noqa: SLF001
            before = self._buffers.get(path, (None, None))[1]
            if not _same(before, now):
                found.append(Change(path, "buffer", before, now))
        for path, (owner, name, _, kept) in self._attributes.items():
            now = vars(owner).get(name)
            if not _same(kept, now):
                found.append(Change(path, "attribute", kept, now))
        for path, owner in self._module.named_modules():
            new = set(vars(owner)) - self._known.get(id(owner), set(vars(owner)))
            found += [
                Change(f"{path}.{name}" if path else name, "attribute", None, vars(owner)[name])
                for name in sorted(new)
                if _looked_at(name, vars(owner)[name])
            ]
        return found

    def restore(self, only: Collection[str] | None = None) -> None:
        """Put buffers and attributes back as they were, those at the paths `only` or all."""
        with torch.no_grad():
            for path, owner, name in _tensors(self._module, "_buffers"):
                if only is None or path in only:
                    _put(owner._buffers, name, *self._buffers.get(path, (None, None)))  # noqa: SLF001
            for path, (owner, name, value, kept) in self._attributes.items():
                if only is None or path in only:
                    _put(vars(owner), name, value, kept)
        for owner in self._module.modules() if only is None else ():
            for name in set(vars(owner)) - self._known.get(id(owner), set(vars(owner))):
                if "_hook" not in name:
                    del vars(owner)[name]


def _put(place: dict[str, Any], name: str, original: Any, kept: Any) -> None:
    """Have `place` hold the original object again, with the value that was kept of it."""
    if isinstance(original, torch.Tensor) and original.shape == kept.shape:
        # In place: others may hold the same tensor.
        original.copy_(kept)
        place[name] = original
    else:
        place[name] = _copy(kept)


def fingerprint(tensor: torch.Tensor) -> tuple[object, ...]:
    """What tells whether a tensor's values changed: the sum of its bits as integers, without a copy."""
    flat = tensor.detach()
    size = flat.element_size()
    if flat.numel() == 0 or flat.is_meta or not flat.is_contiguous() or size not in _BITS:
        return tuple(flat.shape), flat._version  # noqa: SLF001
    # Eight bytes at a time where they come out even: several times as fast.
    bits = torch.int64 if flat.numel() * size % 8 == 0 else _BITS[size]
    return tuple(flat.shape), int(flat.reshape(-1).view(bits).sum(dtype=torch.int64))


def _tensors(module: torch.nn.Module, kind: str) -> Iterator[tuple[str, torch.nn.Module, str]]:
    """Path, owner and name of every buffer, each of them once."""
    for path, owner in module.named_modules():
        for name in list(getattr(owner, kind)):
            yield f"{path}.{name}" if path else name, owner, name


def _looked_at(name: str, value: object) -> bool:
    # Hooks, and what says that they are installed: taken for state and put back, they would be installed twice.
    if name in _OWN or "_hook" in name:
        return False
    return value is None or isinstance(value, (torch.Tensor, int, float, str, *_CONTAINERS))


def _copy(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    return copy.copy(value) if isinstance(value, _CONTAINERS) else value


def _same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        if not (isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)):
            return a is b
        return a.shape == b.shape and a.dtype == b.dtype and _values_equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(
            x is y or _same(x, y) for x, y in zip(a.values(), b.values(), strict=True)
        )
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(x is y or _same(x, y) for x, y in zip(a, b, strict=True))
    return a is b or (type(a) is type(b) and isinstance(a, (int, float, str, set)) and a == b)


def _values_equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal everywhere, NaN counting as equal to NaN."""
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def _told(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return "None" if value is None else type(value).__name__


class Step(torch.nn.Module):
    """A stateful module as a function: inputs and states in, outputs and next states out.

    Args:
        module: The module; its own values are untouched by a call.
        states: Paths of the buffers and attributes that are states.
        outputs: Names of its outputs, in order.
        where: The model, for messages.
        given: Names of positional outputs.
    """

    def __init__(
        self, module: torch.nn.Module, states: Sequence[str], outputs: Sequence[str], where: str,
        given: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.module = module
        self._states = tuple(states)
        self._outputs = tuple(outputs)
        self._where = where
        self._given = tuple(given)

    def forward(self, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The module's inputs, then the states; its outputs, then the next states."""
        count = len(arguments) - len(self._states)
        # Clones: an update in place must not reach the caller's tensor.
        states = [state.clone() for state in arguments[count:]]
        with _in_place_of(self.module, self._states, states) as after:
            flat = flatten_outputs(self.module(*arguments[:count]), self._where, self._given)
        return (*(flat[name] for name in self._outputs), *after)


@contextmanager
def _in_place_of(
    module: torch.nn.Module, paths: Sequence[str], values: Sequence[torch.Tensor]
) -> Iterator[list[torch.Tensor]]:
    """Have the module hold `values` at `paths`; the list receives what stands there at the end."""
    places = [_place(module, path) for path in paths]
    before = [place[name] for place, name in places]
    after: list[torch.Tensor] = []
    for (place, name), value in zip(places, values, strict=True):
        place[name] = value
    try:
        yield after
        after += [place[name] for place, name in places]
    finally:
        for (place, name), value in zip(places, before, strict=True):
            place[name] = value


def step(
    name: str, part: TorchPart, changes: Sequence[Change]
) -> tuple[TorchPart, list[StateLink], list[Call]]:
    """A stateful part as a step, its links, and a rollout of the untouched module.

    Args:
        name: The part's name.
        part: Its module is in the state in which the first call finds it, and is left in it.
        changes: What calls change; all of it becomes state.

    Raises:
        ExportError: One of them cannot be a state: it is not a tensor, or changes its shape.
    """
    for change in changes:
        if not change.is_state:
            raise ExportError(
                f"forward changes {change}, and its outputs depend on it",
                where=part.where,
                todo="Make it a registered buffer that keeps its shape and dtype, or an input and an output of forward",
            )
    taken = {spec.name for spec in part.signature.inputs}
    names = {c.path: f"state_{c.path}" if c.path in taken else c.path for c in changes}
    start = {names[c.path]: c.before.detach().cpu().numpy().copy() for c in changes}
    calls, reached, outputs = _in_a_row(name, part, list(names))
    specs = tuple(
        TensorSpec(names[c.path], str(c.before.dtype).removeprefix("torch."), tuple(c.before.shape))
        for c in changes
    )
    wrapped = Step(part.module, list(names), outputs, part.where, part.output_names).eval()

    def example(sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        # States that calls lead to: random ones may not be legal (a variance, a position).
        at = reached[seed % len(reached)]
        return {**part.example(sizes, seed), **{names[path]: at[path].copy() for path in names}}

    made = replace(
        part,
        module=wrapped,
        reference=None,
        signature=Signature((*part.signature.inputs, *specs), ()),
        example=example,
        output_names=(*outputs, *(f"next_{names[c.path]}" for c in changes)),
        initial={**part.initial, **start},
    )
    links = [StateLink(name, f"next_{state}", name, state) for state in names.values()]
    return made, links, calls


def _in_a_row(
    name: str, part: TorchPart, paths: Sequence[str]
) -> tuple[list[Call], list[dict[str, np.ndarray]], list[str]]:
    """Calls of the untouched module from its first state, its states before each, and its outputs' names."""
    snapshot = Snapshot(part.module, parameters=False)
    calls: list[Call] = []
    reached: list[dict[str, np.ndarray]] = []
    names: list[str] = []
    try:
        for seed in range(CALLS):
            reached.append(_held(part.module, paths))
            inputs = part.example(part.sizes, seed)
            with torch.no_grad():
                result = part.module(*(torch.from_numpy(value.copy()) for value in inputs.values()))
            flat = flatten_outputs(result, part.where, part.output_names)
            names = list(flat)
            outputs = {key: value.detach().cpu().numpy().copy() for key, value in flat.items()}
            calls.append(Call(name, inputs, outputs))
    finally:
        snapshot.restore()
    return calls, reached, names


def _held(module: torch.nn.Module, paths: Sequence[str]) -> dict[str, np.ndarray]:
    """The buffers and attributes at `paths`, copied."""
    values = {path: _place(module, path) for path in paths}
    return {path: place[name].detach().cpu().numpy().copy() for path, (place, name) in values.items()}


def _place(module: torch.nn.Module, path: str) -> tuple[dict[str, Any], str]:
    """The dictionary that holds the buffer or attribute at `path`, and its name there."""
    owner, _, name = path.rpartition(".")
    held = module.get_submodule(owner)
    buffers = held._buffers  # noqa: SLF001
    return (buffers if name in buffers else vars(held)), name
