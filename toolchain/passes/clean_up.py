"""`clean_up`: all passes in their order, again and again until nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.passes.base import MAX_ROUNDS, in_order, passes
from edgepack.toolchain.passes.graphs import merged
from edgepack.toolchain.passes.weights import array, is_large

if TYPE_CHECKING:
    import onnx_ir as ir


def clean_up(
    model: ir.Model,
    names: Sequence[str] | None = None,
    *,
    after: Callable[[str, ir.Model], None] | None = None,
) -> dict[str, int]:
    """Run the clean-up passes on `model`, in place.

    A round runs every pass once; a pass is left out of a round when no other pass has changed anything
    since it ran last. Rounds end when none is left to run, at the latest after `MAX_ROUNDS`.

    Args:
        model: The graph; large weights stay where they are mapped from.
        names: Passes to run, in this order; all registered ones when None.
        after: Called with the pass's name and the model whenever a pass changed something; what it
            raises ends the clean-up, so that a check can name the pass that broke the graph.

    Returns:
        For every pass that ran, by name, how many things it changed in all rounds.

    Raises:
        UnknownNameError: A name that is not registered.
        EdgepackError: A pass failed, or changed the model's inputs or outputs; the pass is named.
        SourceError: A weight cannot be read, or the graph contradicts itself.
    """
    order = list(names) if names is not None else in_order()
    chosen = {name: passes.get(name) for name in order}
    counts = dict.fromkeys(order, 0)
    _hold_small_weights(model)
    signature = _Signature(model)
    changes = 0
    settled = dict.fromkeys(order, -1)
    for _ in range(MAX_ROUNDS):
        pending = False
        for name, run in chosen.items():
            if settled[name] == changes:
                continue
            pending = True
            try:
                count = run(model)
            except EdgepackError:
                raise
            except Exception as error:
                raise EdgepackError(
                    f"The pass '{name}' failed: {type(error).__name__}: {error}",
                    where="clean-up",
                    todo="Report it together with the model",
                ) from error
            if name == "initializer-inputs" and count:
                signature = _Signature(model)
            signature.keep(model, name)
            if count:
                counts[name] += count
                changes += count
                if after is not None:
                    after(name, model)
            settled[name] = changes
        if not pending:
            break
    return counts


class _Signature:
    """Names, types and dimensions of a model's inputs and outputs, which no pass may change."""

    def __init__(self, model: ir.Model) -> None:
        self.inputs = _facts(model.graph.inputs)
        self.outputs = _facts(model.graph.outputs)

    def keep(self, model: ir.Model, name: str) -> None:
        """Raise if names changed after the pass `name`; give declared types and dimensions back."""
        for kind, was, now in (
            ("inputs", self.inputs, model.graph.inputs),
            ("outputs", self.outputs, model.graph.outputs),
        ):
            names, expected = [value.name for value in now], [fact[0] for fact in was]
            if names != expected:
                raise EdgepackError(
                    f"The pass '{name}' changed the model's {kind} from {expected} to {names}",
                    where="clean-up",
                    todo="Report it together with the model",
                )
            for value, (_, declared, shape) in zip(now, was, strict=True):
                value.type = declared if declared is not None else value.type
                if shape is not None:
                    # What an output leaves open may have been inferred; an input's shape is the author's.
                    value.shape = merged(shape, value.shape) if kind == "outputs" else shape.copy()


def _facts(values: Sequence[ir.Value]) -> list[tuple[str | None, ir.TypeProtocol | None, ir.Shape | None]]:
    return [
        (value.name, value.type, value.shape.copy() if value.shape is not None else None) for value in values
    ]


def _hold_small_weights(model: ir.Model) -> None:
    """Read external constants of a few bytes (shapes, axes, scales): the passes look into them."""
    import onnx_ir as ir

    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and not is_large(tensor):
                value.const_value = ir.Tensor(array(tensor), dtype=tensor.dtype, name=tensor.name)
