"""What forward returns, as tensors by name.

A graph returns a flat list of tensors. Dataclasses, mappings and sequences are taken apart, the names on
the way joined with ".": {"state": (h, c)} gives "state.0" and "state.1". None is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch

from edgepack.exporters.sources.base import TorchPart
from edgepack.toolchain.errors import ExportError, SourceError
from edgepack.toolchain.program import size_of

_HOW = "Wrap the model so that forward returns a tensor, a tuple of tensors or a dict of tensors"


def flatten_outputs(result: object, where: str, names: Sequence[str] = ()) -> dict[str, torch.Tensor]:
    """Tensors of a forward's result by name, in the order in which they stand there.

    Args:
        result: What forward returned: a tensor, or dataclasses, mappings and sequences of such, nested.
        where: The model, for messages.
        names: Names of positional outputs, where the source knows them.

    Raises:
        SourceError: Something in it is not a tensor, which is named, or there is no tensor, or two have one name.
    """
    if isinstance(result, torch.Tensor):
        return {names[0] if names else "output": result}
    named: dict[str, torch.Tensor] = {}
    for name, value in _leaves(result, "", names):
        if value is None:
            continue
        if not isinstance(value, torch.Tensor):
            raise SourceError(
                f"The output '{name}' of forward is {type(value).__name__}, not a tensor",
                where=where,
                todo=_HOW,
            )
        if name in named:
            raise SourceError(f"Two outputs of forward are called '{name}'", where=where, todo=_HOW)
        named[name] = value
    if not named:
        raise SourceError("forward returned no tensor", where=where, todo=_HOW)
    return named


def left_out(result: object, names: Sequence[str] = ()) -> list[str]:
    """Names of the outputs that are None, which a graph cannot return."""
    if isinstance(result, torch.Tensor):
        return []
    return [name for name, value in _leaves(result, "", names) if value is None]


def is_flat(result: object) -> bool:
    """Whether a graph traced from forward as it is returns its tensors in a fixed order: no names, no None."""
    plain = type(result) in (tuple, list)
    return isinstance(result, torch.Tensor) or (
        plain and all(isinstance(value, torch.Tensor) for value in result)  # type: ignore[attr-defined]
    )


def _leaves(value: object, path: str, names: Sequence[str]) -> Iterator[tuple[str, object]]:
    """Name and value of everything that is not a container."""
    at_top = not path
    items: list[tuple[str, Any]]
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, tuple) and hasattr(value, "_fields") and not (at_top and names):
        items = list(zip(value._fields, value, strict=True))
    elif isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (str, bytes)):
        given = list(names) if at_top else []
        bare = "output_{}" if at_top else "{}"
        items = [(given[i] if i < len(given) else bare.format(i), item) for i, item in enumerate(value)]
    else:
        yield path or "output", value
        return
    for key, item in items:
        yield from _leaves(item, key if at_top else f"{path}.{key}", ())


class Flat(torch.nn.Module):
    """A module that returns the tensors of another one's result as a tuple, in the order of `names`.

    A mapping's order may differ from call to call (it may come from a set); names do not.
    """

    def __init__(
        self, module: torch.nn.Module, names: Sequence[str], given: Sequence[str], where: str
    ) -> None:
        super().__init__()
        self.module = module
        self._names = tuple(names)
        self._given = tuple(given)
        self._where = where

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Inputs as the module takes them; its tensors in the order of the names."""
        flat = flatten_outputs(self.module(*inputs), self._where, self._given)
        return tuple(flat[name] for name in self._names)


def flattened(part: TorchPart, result: object) -> tuple[TorchPart, list[str]]:
    """The part with a module that returns a flat tuple, the very same where it does so already.

    Args:
        part: A part.
        result: What its module returned in one call.

    Returns:
        The part, and notes on what was left out.

    Raises:
        SourceError: As `flatten_outputs`.
    """
    if is_flat(result):
        return part, []
    names = list(flatten_outputs(result, part.where, part.output_names))
    wrapped = Flat(part.module, names, part.output_names, part.where).eval()
    reference = part.reference
    if reference is not None:
        # The reference names its outputs by itself; only their order must be the graph's.
        reference = _Ordered(reference, names, part.output_names, part.where)
    none = left_out(result, part.output_names)
    notes = [f"outputs left out, forward returns None for them: {', '.join(none)}"] if none else []
    return dataclasses.replace(part, module=wrapped, reference=reference, output_names=tuple(names)), notes


class _Ordered:
    """A callable's tensors as a tuple in the order of names."""

    def __init__(self, call: Any, names: Sequence[str], given: Sequence[str], where: str) -> None:
        self.call = call
        self._names, self._given, self._where = names, given, where

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        flat = flatten_outputs(self.call(*inputs), self._where, self._given)
        missing = [name for name in self._names if name not in flat]
        if missing:
            raise ExportError(
                f"The rewritten model returns '{missing[0]}', the reference does not", where=self._where
            )
        return tuple(flat[name] for name in self._names)


def named_shape(
    name: str, shapes: Sequence[Sequence[int]], sets: Sequence[Mapping[str, int]]
) -> tuple[int | str, ...]:
    """The shape of a tensor that was seen with several sizes of the named dimensions.

    A dimension that follows a named size, or the sum of two, over all cases bears its name; one that stays
    is a number; one that varies otherwise gets a name of its own, "<name>_<axis>".

    Args:
        name: The tensor's name.
        shapes: Its shape in every case.
        sets: The sizes in every case.

    Raises:
        SourceError: The number of dimensions varies.
    """
    if len({len(shape) for shape in shapes}) > 1:
        raise SourceError(f"The tensor '{name}' changes its number of dimensions with the input's size")
    shape: list[int | str] = []
    sums = ["+".join(sorted(pair)) for pair in combinations(sets[0], 2)]
    for axis in range(len(shapes[0])):
        lengths = [int(one[axis]) for one in shapes]
        follows = [
            dim
            for dim in (*sets[0], *sums)
            if all(length == size_of(dim, sizes) for length, sizes in zip(lengths, sets, strict=True))
        ]
        if len(set(lengths)) == 1 and not (follows and len({size_of(follows[0], s) for s in sets}) > 1):
            shape.append(lengths[0])
        else:
            shape.append(follows[0] if follows else f"{name}_{axis}")
    return tuple(shape)
