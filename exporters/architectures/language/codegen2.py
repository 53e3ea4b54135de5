r"""Row 16, CodeGen2: one stack that encodes a prefix and decodes a suffix, in one graph, by its attention's mask.

    x + attention(n x) + mlp(n x)             a layer, n its only norm
    position i sees j:  j <= i  or  j < p     the first p tokens see one another, the others what is before them

p is an input. At p = 0 the same graph is a causal decoder, as the authors' released models are. A gap is filled by
writing what belongs into it behind what is around it:

    before <mask_1> behind <|endoftext|> <sep> <mask_1>  ->  what belongs between  <eom>

with everything up to <|endoftext|> as the prefix. Rotary positions turn the first channels of a head. With width d, L
layers and V tokens: 2 V d + V + 2 d + L (12 d^2 + 7 d) parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Published

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "codegen2"


@dataclass(frozen=True)
class CodeGen2:
    """Sizes.

    Attributes:
        width: Channels; the feed-forward network has four times as many.
        heads: Attention heads.
        layers: Of the one stack.
        turned: Channels of a head that are turned to their position.
        vocabulary: Tokens.
        positions: Most tokens of a sequence.
        end: Token <|endoftext|>.
        separator: Token <sep>.
        gap: Token <mask_1>.
        seed: Of the random weights.
    """

    width: int
    heads: int
    layers: int
    turned: int = 64
    vocabulary: int = 51200
    positions: int = 2048
    end: int = 50256
    separator: int = 50299
    gap: int = 51199
    seed: int = 0

    @property
    def parameters(self) -> int:
        """By the formula above."""
        d, v = self.width, self.vocabulary
        return 2 * v * d + v + 2 * d + self.layers * (12 * d * d + 7 * d)


CONFIGS = {
    "1b": CodeGen2(2048, 16, 16),
    "3.7b": CodeGen2(4096, 16, 16),
    "7b": CodeGen2(4096, 32, 32),
    "16b": CodeGen2(6144, 24, 34),
    "tiny": CodeGen2(32, 4, 2, turned=4, vocabulary=61, positions=64, end=1, separator=2, gap=60),
}

_MODELS = "the authors' model cards name the model by it; a name, not a count"

CARD = Card(
    name=NAME,
    system="16",
    paper="CodeGen2: Lessons for Training LLMs on Programming and Natural Languages",
    arxiv="2305.02309",
    says=(
        "abstract: encoder and decoder are to be unified into a single prefix-LM",
        "abstract: causal language modelling, span corruption and infilling in one learning algorithm",
        "abstract: models of 1B, 3.7B, 7B and 16B parameters",
        "the authors' model card: how a gap is asked for, with <mask_1>, <sep> and <eom>",
    ),
    parts={
        "prefill": "a prompt whose first tokens see one another, as many as an input says, to logits and caches",
        "infill": "what stands before and behind a gap, to the logits of its first token and caches",
        "decode": "one token against the caches of either, to logits",
    },
    checks=(
        "every part against torch on several sizes, with prefixes of several lengths and none",
        "a prompt or a gap, and then single steps, against the whole sequence at once, in torch without caches",
        "the prefix sees itself in both directions, no later token is seen by one before it",
        "same weights in transformers' CodeGen, causal and under a prefix mask: same logits",
    ),
    assumed=(
        "1b is the authors' configuration file; 3.7b has the sizes that public code expects of the authors' model",
        "7b and 16b: layers, heads and width are chosen so that the counts follow; the authors' files were not at hand",
        (
            "the authors' weights hold queries, values and keys in groups and turn neighbouring channels; here they "
            "are one after the other and halves are turned: the same network with its rows in another order"
        ),
        "<|endoftext|> is the last token of a gap's prefix",
    ),
    published=(
        Published("1b", _MODELS, parameters=1e9),
        Published("3.7b", _MODELS, parameters=3.7e9),
        Published("7b", _MODELS, parameters=7e9),
        Published("16b", _MODELS, parameters=16e9),
    ),
    structure=(
        "one graph whose mask is bidirectional over a prefix of any length and causal behind it",
        "one norm a layer: attention and feed-forward network read the same",
        "caches of fixed capacity go from prompt or gap to the decoder",
    ),
    compared=(
        "transformers' CodeGenForCausalLM, same random weights with their rows put in order: logits within 1e-4, "
        "causal and under a prefix mask (test_codegen2.py); the authors' own file was not run: it needs a module "
        "that transformers no longer has"
    ),
)


def _whole(config: CodeGen2) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.language._codegen2 import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, too_few

    missing = not_there(graphs, "prefill", "infill", "decode")
    if missing:
        return missing
    layers = CONFIGS["tiny"].layers
    found = []
    for name, graph in graphs.items():
        found += too_few(graph, "Softmax", layers, f"attention of every layer in '{name}'")
        found += too_few(graph, "ScatterElements", 2 * layers, f"caches that '{name}' writes")
        norms = operators(graph)["LayerNormalization"]
        if norms != layers + 1:
            found.append(f"'{name}' has {norms} norms and not one a layer and a last one")
        if len(graph.graph.outputs) != 1 + 2 * layers:
            found.append(f"'{name}' does not give a key and a value of every layer")
    for name in ("prefill", "infill"):
        inputs = {str(value.name): value for value in graphs[name].graph.inputs}
        if "prefix" not in inputs or not inputs["prefix"].uses():
            found.append(f"the mask of '{name}' does not depend on where the prefix ends")
    return found


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: CodeGen2) -> TorchModel:
    """Three graphs of one set of weights."""
    from edgepack.exporters.architectures.language import _codegen2_parts

    return _codegen2_parts.build(config, NAME)
