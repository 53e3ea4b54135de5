"""Models of one part: encoders, classifiers, detectors and whatever answers in one call."""

from __future__ import annotations

import contextlib
import inspect
from pathlib import Path
from typing import Any

import torch

from edgepack.exporters.sources import sentence, tasks
from edgepack.exporters.sources._families import experts, masks, patches, state_space
from edgepack.exporters.sources._families.inputs import describe
from edgepack.exporters.sources.base import TorchPart

# |a - b| of outputs of order 1 with and without a rewrite: float32 noise stays well below.
_SAME = 1e-4


class Adapter(torch.nn.Module):
    """The model called by position, returning the task's tensors.

    Args:
        model: A transformers model.
        names: Names of the positional inputs.
        outputs: Attributes of its output to return.
        pooling: For sentence encoders, how to pool; `outputs` is then one vector a sentence.
        rewrites: Apply what graphs need; the reference does without.
        finite_mask: Of the rewrites, masks of 0 and -30.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        names: list[str],
        outputs: tuple[str, ...],
        pooling: sentence.Pooling | None,
        *,
        rewrites: bool,
        finite_mask: bool,
    ) -> None:
        super().__init__()
        self.model = model
        self.names = names
        self.outputs = outputs
        self.pooling = pooling
        self.rewrites = rewrites
        self.finite_mask = finite_mask
        # A cache that nobody reads would be computed for nothing.
        self.options = (
            {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
        )

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Inputs in the signature's order; the task's outputs in theirs."""
        named = dict(zip(self.names, inputs, strict=True))
        with contextlib.ExitStack() as stack:
            if self.rewrites:
                stack.enter_context(experts.implementation(self.model, experts.DENSE))
                stack.enter_context(state_space.without_loops(self.model))
                stack.enter_context(patches.applied(self.model))
            if self.finite_mask:
                stack.enter_context(masks.finite(masks.ENCODER))
            result = self.model(**named, **self.options, return_dict=True)
        if self.pooling is not None:
            return sentence.pool(self.pooling, result.last_hidden_state, named["attention_mask"])
        values = tuple(getattr(result, name) for name in self.outputs)
        return values[0] if len(values) == 1 else values


def part(model: Any, folder: Path, task: str) -> tuple[TorchPart, list[str]]:
    """The model as one part, and what was rewritten, in words."""
    inputs = describe(model, str(folder))
    names = [spec.name for spec in inputs.signature.inputs]
    outputs = tasks.TASKS[task].outputs
    pooling = sentence.read(folder) if task == "sentence-similarity" else None
    plain = Adapter(model, names, outputs, pooling, rewrites=False, finite_mask=False).eval()
    traced = Adapter(model, names, outputs, pooling, rewrites=True, finite_mask=False).eval()
    made = TorchPart(
        traced, inputs.signature, inputs.example, str(folder), plain, inputs.sizes, inputs.limits, outputs
    )
    notes = patches.notes(model)
    if "attention_mask" in names:
        notes.append(_finite_mask(made, traced, names.index("attention_mask")))
    return made, notes


def _finite_mask(made: TorchPart, traced: Adapter, place: int) -> str:
    """Use the finite mask where the model gives the same outputs with it; says whether, in words."""
    inputs = [torch.from_numpy(v) for v in made.example(made.sizes, 1).values()]
    keep = inputs[place].bool()
    with torch.no_grad():
        before = made.reference(*inputs) if made.reference else traced(*inputs)
        with masks.finite(masks.ENCODER) as used:
            after = traced(*inputs)
    if not used:
        return "finite mask left: the model makes its mask in its own way"
    for one, other in zip(_tuple(before), _tuple(after), strict=True):
        a, b = one, other
        # Values at padded positions are nobody's: compare the others only, where the output has positions.
        if a.ndim >= 2 and a.shape[:2] == keep.shape:  # noqa: PLR2004
            a, b = a[keep], b[keep]
        if (a - b).abs().max() > _SAME * max(1.0, float(a.abs().max())):
            return "finite mask left: the outputs differ with it"
    traced.finite_mask = True
    return f"finite mask: masked scores get {masks.ENCODER:g} in place of the lowest float32"


def _tuple(result: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (result,) if isinstance(result, torch.Tensor) else result
