"""The last rung: the networks of a model as parts, its control on the host.

When forward as a whole cannot be traced, the direct children that it calls with tensors often can. Each
becomes a part of its own, with the inputs and outputs that it had in the reference calls; what forward
itself does between them is not in the artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from edgepack.exporters.outputs import flatten_outputs, named_shape
from edgepack.exporters.record import call_forward
from edgepack.exporters.sources.base import TorchPart
from edgepack.exporters.sources.inputs import other_sizes, random_inputs
from edgepack.toolchain.errors import ExportError, SourceError
from edgepack.toolchain.program import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np

_USEFUL = 0.5
"""Least share of the parameters that the children must hold together."""


@dataclass
class _Seen:
    """One call of a child: its tensors by name, and the bound arguments that are none."""

    tensors: dict[str, torch.Tensor]
    constants: dict[str, Any]
    positional: int


@dataclass
class _Record:
    """What one call of forward did with its children."""

    calls: list[tuple[str, _Seen]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class Child(torch.nn.Module):
    """A child called with tensors only: by position, then by keyword, its constants as they were seen.

    Args:
        module: The child.
        positional: How many of the inputs go by position.
        keywords: Names of the others.
        constants: Keyword arguments that are no tensors.
    """

    def __init__(
        self, module: torch.nn.Module, positional: int, keywords: Sequence[str], constants: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.module = module
        self._positional = positional
        self._keywords = tuple(keywords)
        self._constants = dict(constants)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """The inputs in order; what the child returns."""
        named = dict(zip(self._keywords, inputs[self._positional :], strict=True))
        return self.module(*inputs[: self._positional], **named, **self._constants)


def split(name: str, part: TorchPart) -> tuple[dict[str, TorchPart], str]:
    """The children of a part's module as parts.

    Args:
        name: The part's name; children of "main" bear their own, others "<name>.<child>".
        part: A part whose forward could not be traced.

    Returns:
        Parts by name in calling order, and a note on what the artifact lacks.

    Raises:
        ExportError: Nothing useful comes out, and why.
        SourceError: forward raised.
    """
    sets = [part.sizes, *part.size_sets] if part.size_sets else other_sizes(part.sizes, part.limits)
    records = [_watch(part, sizes, index) for index, sizes in enumerate(sets)]
    refused = {path: why for one in records for path, why in one.refused.items()}
    names = list(dict.fromkeys(path for one in records for path, _ in one.calls if path not in refused))
    told = "; ".join(f"{path}: {why}" for path, why in refused.items())
    own = _own_module(part.module)
    kept = sum(p.numel() for path in names for p in own.get_submodule(path).parameters())
    total = sum(p.numel() for p in own.parameters())
    if not names or kept < _USEFUL * total:
        raise ExportError(
            f"the children that forward calls with tensors hold {kept} of {total} parameters"
            + (f" ({told})" if told else ""),
            where=part.where,
        )
    prefix = "" if name == "main" else f"{name}."
    children: dict[str, TorchPart] = {}
    for path in names:
        seen = [[s for called, s in one.calls if called == path] for one in records]
        children[f"{prefix}{path}"] = _child(path, own.get_submodule(path), seen, sets, part)
    order = " -> ".join(path for path, _ in records[0].calls)
    note = f"split: forward's own code is not in the artifact; parts are called as {order}"
    return children, note + (f"; left on the host: {told}" if told else "")


def _own_module(module: torch.nn.Module) -> torch.nn.Module:
    """The user's module inside of those that edgepack put around it."""
    while type(module).__module__.startswith("edgepack.exporters.") and hasattr(module, "module"):
        module = module.module  # type: ignore[assignment]
    return module


def _candidates(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Direct children with parameters; of lists and dictionaries of modules, which are not called, theirs."""
    found: dict[str, torch.nn.Module] = {}
    for name, child in module.named_children():
        if isinstance(child, (torch.nn.ModuleList, torch.nn.ModuleDict)):
            found |= {f"{name}.{path}": inner for path, inner in _candidates(child).items()}
        elif any(True for _ in child.parameters()):
            found[name] = child
    return found


def _watch(part: TorchPart, sizes: Mapping[str, int], seed: int) -> _Record:
    """Call forward once and keep what goes into its children and comes out."""
    seen = _Record()
    inside: list[str] = []
    handles = []
    for path, child in _candidates(_own_module(part.module)).items():
        before, after = _hooks(path, seen, inside)
        handles.append(child.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(child.register_forward_hook(after))
    try:
        call_forward(part.module, part.example(sizes, seed), part)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _hooks(path: str, seen: _Record, inside: list[str]) -> tuple[Any, Any]:
    """Hooks before and after a child; a child that another one calls is that one's business."""

    def before(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not inside:
            _keep(seen, path, args, kwargs)
        inside.append(path)

    def after(_: torch.nn.Module, __: Any, output: Any) -> None:
        inside.pop()
        if not inside:
            try:
                flatten_outputs(output, path)
            except SourceError as error:
                seen.refused[path] = error.what

    return before, after


def _keep(seen: _Record, path: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    tensors = {f"input_{i}" if len(args) > 1 else "input": v for i, v in enumerate(args)}
    wrong = [type(value).__name__ for value in args if not isinstance(value, torch.Tensor)]
    constants: dict[str, Any] = {}
    for key, value in kwargs.items():
        if isinstance(value, torch.Tensor):
            tensors[key] = value
        elif value is None or isinstance(value, (bool, int, float, str)):
            constants[key] = value
        else:
            wrong.append(type(value).__name__)
    if wrong:
        seen.refused[path] = f"its input is {wrong[0]}, not a tensor"
    elif not tensors:
        seen.refused[path] = "it takes no tensor"
    else:
        copied = {key: value.detach().clone() for key, value in tensors.items()}
        seen.calls.append((path, _Seen(copied, constants, len(args))))


def _child(
    path: str,
    module: torch.nn.Module,
    seen: Sequence[Sequence[_Seen]],
    sets: Sequence[Mapping[str, int]],
    part: TorchPart,
) -> TorchPart:
    """A part of one child from its calls in every reference call of forward.

    Raises:
        ExportError: It is called in different ways.
    """
    where = f"{part.where}, {path}"
    calls = [(one, sizes) for each, sizes in zip(seen, sets, strict=True) for one in each]
    first = calls[0][0]
    for one, _ in calls:
        if list(one.tensors) != list(first.tensors) or one.constants != first.constants:
            raise ExportError(f"forward calls the child '{path}' in different ways", where=where)
        if any(one.tensors[k].dtype != v.dtype for k, v in first.tensors.items()):
            raise ExportError(f"forward calls the child '{path}' with different dtypes", where=where)
    specs: list[TensorSpec] = []
    by_lengths: dict[tuple[int, ...], str] = {}
    names = [dict(sizes) for _, sizes in calls]
    for name, tensor in first.tensors.items():
        shape = list(named_shape(name, [tuple(c.tensors[name].shape) for c, _ in calls], names))
        for axis, dim in enumerate(shape):
            if isinstance(dim, str):
                lengths = tuple(int(c.tensors[name].shape[axis]) for c, _ in calls)
                # Dimensions that vary alike are one.
                shape[axis] = by_lengths.setdefault(lengths, _identifier(dim))
        specs.append(TensorSpec(name, str(tensor.dtype).removeprefix("torch."), tuple(shape)))
    reached = [
        {dim: lengths[i] for lengths, dim in by_lengths.items() if "+" not in dim}
        | {n: names[i][n] for dim in by_lengths.values() if "+" in dim for n in dim.split("+")}
        for i in range(len(calls))
    ]
    # torch.export takes sizes of 0 and 1 for constants: begin with a call that has none.
    order = sorted(range(len(calls)), key=lambda i: any(size < 2 for size in reached[i].values()))  # noqa: PLR2004
    arrays = [{k: v.cpu().numpy() for k, v in calls[i][0].tensors.items()} for i in order]
    at = [reached[i] for i in order]

    def example(wanted: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        fits = [made for made, sizes in zip(arrays, at, strict=True) if sizes == dict(wanted)]
        if seed < len(at) and at[seed] == dict(wanted):
            return {key: value.copy() for key, value in arrays[seed].items()}
        if fits:
            return {key: value.copy() for key, value in fits[seed % len(fits)].items()}
        return random_inputs(specs, wanted, seed)

    keywords = list(first.tensors)[first.positional :]
    plain = not keywords and not first.constants
    made = module if plain else Child(module, first.positional, keywords, first.constants)
    signature = Signature(tuple(specs), ())
    return TorchPart(
        made.eval(), signature, example, where, None, dict(at[0]), dict(part.limits), (),
        tuple(dict(sizes) for sizes in at[1:]),
    )  # fmt: skip


def _identifier(dim: str) -> str:
    """A dimension's name: letters, digits and underscores, or a sum."""
    return dim.replace(".", "_")
