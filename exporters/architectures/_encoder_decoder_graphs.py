"""What must survive of two stacks in exported graphs: an encoder that runs once, a decoder that steps on caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgepack.exporters.architectures._graphs import not_there, operators, too_few

if TYPE_CHECKING:
    import onnx_ir as ir


def lost(graphs: Mapping[str, ir.Model], encoder_layers: int, decoder_layers: int) -> list[str]:
    """One sentence for everything that is missing in the parts `encoder` and `decoder`.

    Args:
        graphs: By part.
        encoder_layers: Each has one attention.
        decoder_layers: Each has two, keys and values of the second computed by the encoder.
    """
    missing = not_there(graphs, "encoder", "decoder")
    if missing:
        return missing
    found = too_few(graphs["encoder"], "Softmax", encoder_layers, "attention of every encoder layer")
    found += too_few(
        graphs["decoder"], "Softmax", 2 * decoder_layers, "both attentions of every decoder layer"
    )
    if operators(graphs["decoder"])["Softmax"] > 2 * decoder_layers:
        found.append("the decoder attends more often than its layers do: it runs the encoder again")
    found += too_few(graphs["decoder"], "ScatterElements", 2 * decoder_layers, "caches of fixed capacity")
    return found + crossed_again(graphs)


def crossed_again(graphs: Mapping[str, ir.Model]) -> list[str]:
    """One sentence for every output of the encoder that the decoder does not read, or reads to project it again."""
    found = []
    crossed = {str(value.name) for value in graphs["encoder"].graph.outputs}
    read = {str(value.name): value for value in graphs["decoder"].graph.inputs}
    found += [f"the decoder does not read the encoder's '{name}'" for name in sorted(crossed - read.keys())]
    for name in sorted(crossed & read.keys()):
        # Split into heads already: a projection would be a product with a weight, over all channels.
        shape = read[name].shape
        if shape is None or len(shape) != 4:  # noqa: PLR2004 - [batch, heads, sequence, width]
            found.append(f"the decoder computes keys or values from '{name}' again")
    return found
