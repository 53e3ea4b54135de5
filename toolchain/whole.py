"""A whole that a caller sees, and the parts that stand for it: one size or another, one step after another.

A runtime with fixed shapes has a file for every size of an open dimension (a *bucket*). A caller has inputs of n
positions, and knows nothing of that:

    choose  the least bucket b >= n
    pad     every input along the dimension to b, with what the model's masks take for "nothing there"
    run     the steps of that bucket; what one gives is there for the next, by its name
    cut     every output along the dimension to n

That this gives what the open graph gives for n positions is not so of every model: it is checked, never assumed
(`pipeline.padding`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.program import Signature, is_sum

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]
    Run = Callable[[str, Arrays], Arrays]


@dataclass(frozen=True)
class Variant:
    """One way through.

    Attributes:
        sizes: Size of every dimension that is padded.
        steps: The parts that are run, in order; the inputs of each are the whole's, or outputs of those before.
    """

    sizes: Mapping[str, int]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Whole:
    """What a caller sees of several parts.

    Attributes:
        name: What it is called as: the part of the program that it stands for.
        signature: Its inputs and outputs, with the dimensions that may vary.
        variants: At least one; they differ in their sizes.
        fill: Value that an input is padded with, by name; 0 for others.
    """

    name: str
    signature: Signature
    variants: tuple[Variant, ...]
    fill: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `from_json`."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Whole:
        """The inverse of `to_json`."""
        return Whole(
            data["name"],
            Signature.from_json(data["signature"]),
            tuple(Variant(dict(one["sizes"]), tuple(one["steps"])) for one in data["variants"]),
            dict(data["fill"]),
        )

    def sizes(self, inputs: Arrays) -> dict[str, int]:
        """Size of every dimension that goes by one name, as the inputs have it."""
        return {
            dim: inputs[spec.name].shape[axis]
            for spec in self.signature.inputs
            for axis, dim in enumerate(spec.shape)
            if isinstance(dim, str) and not is_sum(dim)
        }

    def choose(self, sizes: Mapping[str, int]) -> Variant:
        """The smallest variant that holds these sizes.

        Raises:
            UsageError: None does.
        """
        fitting = [one for one in self.variants if all(sizes[dim] <= n for dim, n in one.sizes.items())]
        if fitting:
            return min(fitting, key=lambda one: math.prod(one.sizes.values()))
        built = "; ".join(", ".join(f"{dim}={n}" for dim, n in one.sizes.items()) for one in self.variants)
        given = ", ".join(f"{dim}={sizes[dim]}" for dim in self.variants[0].sizes)
        raise UsageError(
            f"The inputs have {given}, and no bucket is that large",
            where=f"part {self.name}, built for {built}",
            todo="Give shorter inputs, or build a larger bucket with --buckets",
        )

    def pad(self, inputs: Arrays, variant: Variant) -> dict[str, np.ndarray]:
        """The inputs in a variant's sizes, padded at the end."""
        import numpy as np

        made = {}
        for spec in self.signature.inputs:
            value = inputs[spec.name]
            more = [
                (0, variant.sizes[dim] - n if isinstance(dim, str) and dim in variant.sizes else 0)
                for dim, n in zip(spec.shape, value.shape, strict=True)
            ]
            if any(after for _, after in more):
                value = np.pad(value, more, constant_values=value.dtype.type(self.fill.get(spec.name, 0)))
            made[spec.name] = value
        return made

    def cut(self, outputs: Arrays, sizes: Mapping[str, int], variant: Variant) -> dict[str, np.ndarray]:
        """The outputs without what was padded."""
        made = {}
        for spec in self.signature.outputs:
            kept = tuple(
                slice(0, sizes[dim]) if isinstance(dim, str) and dim in variant.sizes else slice(None)
                for dim in spec.shape
            )
            made[spec.name] = outputs[spec.name][kept]
        return made

    def call(self, inputs: Arrays, run: Run, takes: Mapping[str, Signature]) -> dict[str, np.ndarray]:
        """One call.

        Args:
            inputs: All of the whole's, of sizes that agree.
            run: Runs a part.
            takes: Signature of every part.

        Raises:
            UsageError: No variant is large enough.
        """
        sizes = self.sizes(inputs)
        variant = self.choose(sizes)
        known: dict[str, np.ndarray] = self.pad(inputs, variant)
        for step in variant.steps:
            known |= run(step, {spec.name: known[spec.name] for spec in takes[step].inputs})
        return self.cut(known, sizes, variant)
