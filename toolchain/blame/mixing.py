"""The quantized ONNX file with some layers float again, as the quantizer would leave them, without quantizing anew.

Quantizing takes a pass over all calibration samples; trying which layers to keep would take dozens. Here a kept
layer is put back from the float graph: it reads, unrounded, what the quantized layers before it give, as
`quantize/_keep.py` has it. What is found so is measured once more with the quantizer's own file before it is offered.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.blame.pairing import computed, is_clipped_later

if TYPE_CHECKING:
    import onnx_ir as ir


def mixed(float_path: Path, quantized: Path, kept: Collection[str]) -> ir.Model:
    """The quantized model with the layers that compute the tensors `kept` put back.

    Args:
        float_path: The float file.
        quantized: What a quantizer made of it.
        kept: Names of tensors that both files compute.
    """
    import onnx_ir as ir

    source, model = ir.load(float_path), ir.load(quantized)
    mixer = _Mixer(source.graph, model.graph)
    for name in computed(source.graph):  # what is read before its readers
        if name in kept:
            mixer.put_back(name)
    model.graph.sort()
    for key, function in source.functions.items():
        model.functions.setdefault(key, function)
    return model


class _Mixer:
    """Puts layers of one graph into the other."""

    def __init__(self, source: ir.Graph, graph: ir.Graph) -> None:
        self._graph = graph
        self._theirs = computed(source)
        self._shared = {name: value for name, value in computed(graph).items() if name in self._theirs}
        self._unclipped = {
            name for name, value in self._shared.items() if is_clipped_later(self._theirs[name], value)
        }
        self._shared |= {str(value.name): value for value in graph.inputs}
        self._copies: dict[ir.Value, ir.Value] = {}

    def put_back(self, name: str) -> None:
        """Replace a tensor by what a copy of the float layer computes."""
        import onnx_ir as ir

        old = self._shared[name]
        new = self._copy(self._theirs[name])
        old.name, new.name = f"{name}:quantized", name
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        self._shared[name] = new
        self._unclipped.discard(name)

    def _copy(self, value: ir.Value, clipped: ir.Value | None = None) -> ir.Value:
        """A float layer's result, computed from what the quantized graph has of its inputs, or clipping `clipped`."""
        import onnx_ir as ir

        node = value.producer()
        assert node is not None  # noqa: S101 - asked of computed tensors only
        if value not in self._copies:
            first = node.inputs[:1] if clipped is None else []
            inputs = [None if given is None else self._input(given) for given in (*first, *node.inputs[1:])]
            if clipped is not None:
                inputs.insert(0, clipped)
            made = ir.Node(
                node.domain,
                node.op_type,
                inputs,
                list(node.attributes.values()),
                num_outputs=len(node.outputs),
                name=f"keep:{node.name or value.name}",
            )
            self._graph.append(made)
            for theirs, ours in zip(node.outputs, made.outputs, strict=True):
                ours.name = f"keep:{theirs.name}"
                ours.type, ours.shape = theirs.type, theirs.shape
                self._copies[theirs] = ours
        return self._copies[value]

    def _input(self, given: ir.Value) -> ir.Value:
        import onnx_ir as ir

        name = str(given.name)
        if given.is_initializer() and not given.is_graph_input():
            if given not in self._copies:
                own = ir.Value(
                    name=f"keep:{name}", const_value=given.const_value, type=given.type, shape=given.shape
                )
                self._graph.register_initializer(own)
                self._copies[given] = own
            return self._copies[given]
        if name in self._unclipped:
            return self._copy(given, self._shared[name])
        if name in self._shared:
            return self._shared[name]
        # Something that the quantizer has folded into another layer is computed anew.
        return self._copy(given)
