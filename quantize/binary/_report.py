"""What became of each layer, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """One layer.

    Attributes:
        name: Its path in the model.
        kind: "Linear" or "Conv2d", or the name of a subclass.
        weights: How many it has, without the bias.
        kept: Why it stays float; None for a layer that became binary.
        notes: What else was changed around it, or is doubtful.
    """

    name: str
    kind: str
    weights: int
    kept: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All layers, in the order in which they stand in the model.

    Attributes:
        method: The method's name.
        layers: One decision each.
        attentions: Names of self-attentions that compute on bits now.
    """

    method: str
    layers: tuple[Decision, ...]
    attentions: tuple[str, ...] = ()

    @property
    def binary(self) -> tuple[str, ...]:
        """Names of the layers that became binary."""
        return tuple(layer.name for layer in self.layers if layer.kept is None)

    @property
    def kept(self) -> dict[str, str]:
        """Names of those that stay float, each with its reason."""
        return {layer.name: layer.kept for layer in self.layers if layer.kept is not None}

    def __str__(self) -> str:
        """One line a layer."""
        lines = [f"{len(self.binary)} of {len(self.layers)} layers binary by {self.method}"]
        for layer in self.layers:
            said = "; ".join([layer.kept or "binary", *layer.notes])
            lines.append(f"{layer.name} ({layer.kind}, {layer.weights} weights): {said}")
        lines += [f"{name}: attention on bits" for name in self.attentions]
        return "\n".join(lines)
