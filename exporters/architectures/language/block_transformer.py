r"""Row 99, Block Transformer: coarse attention over all blocks below, attention within one block above.

Tokens come in blocks of l. Of block b,

    x_b = [E t_1, .., E t_l]                     the embedder: rows of a table of width d / l, side by side
    c_b = blocks(x_1, .., x_b)                   B layers, global, a position a block
    P c_b, t_1, .., t_(l-1)  ->  t_1, .., t_l    of block b + 1: T layers, local; P makes p vectors of one

so that a token of the upper layers sees p + l - 1 positions whatever came before, and the lower layers run once a block
over n / l positions. Layers are GPT-NeoX's. With vocabulary V and width d, in parameters

    (2 + 1 / l) V d + p d (d + 1) + (B + T) (12 d^2 + 13 d) + 4 d

and to write one token behind n others, numbers of keys and values that are read, beside 2 d (B + T) n of a transformer:

    2 d (B n / l^2 + T (p + l - 1) (l - 1) / l)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "block-transformer"


@dataclass(frozen=True)
class BlockTransformer:
    """Sizes.

    Attributes:
        width: Channels of both decoders.
        block_layers: Of the decoder over blocks.
        token_layers: Of the decoder within a block.
        heads: Attention heads.
        turned: Channels of a head that are turned to their position.
        length: Tokens of a block.
        prefix: Vectors that a context becomes.
        vocabulary: Tokens, padded.
        positions: Most blocks of a sequence.
        seed: Of the random weights.
    """

    width: int
    block_layers: int
    token_layers: int
    heads: int = 16
    turned: int = 16
    length: int = 4
    prefix: int = 2
    vocabulary: int = 50304
    positions: int = 512
    seed: int = 0

    @property
    def local(self) -> int:
        """Positions of the decoder within a block."""
        return self.prefix + self.length - 1

    @property
    def in_layers(self) -> int:
        """Parameters of the layers of both decoders."""
        return (self.block_layers + self.token_layers) * (12 * self.width + 13) * self.width

    @property
    def parameters(self) -> int:
        """By the formula above."""
        d = self.width
        tables = 2 * self.vocabulary * d + self.vocabulary * d // self.length
        return tables + self.prefix * d * (d + 1) + self.in_layers + 4 * d

    def reads(self, tokens: int) -> float:
        """Keys and values that are read to write one token behind `tokens` others, mean over a block, in numbers."""
        far = self.block_layers * tokens / self.length**2
        return 2 * self.width * (far + self.token_layers * self.local * (self.length - 1) / self.length)


def _config(width: int, layers: int) -> BlockTransformer:
    """Of the authors: halves of equal size, 16 heads that turn a quarter of their channels."""
    return BlockTransformer(width, layers, layers, turned=width // 16 // 4)


CONFIGS = {
    "300m": _config(1024, 12),
    "5m": _config(256, 3),
    "19m": _config(512, 3),
    "85m": _config(768, 6),
    "800m": _config(2048, 8),
    "1.2b": _config(2048, 12),
    "tiny": BlockTransformer(32, 2, 2, heads=4, turned=2, vocabulary=61, positions=16),
}

CARD = Card(
    name=NAME,
    system="99",
    paper="Block Transformer: Global-to-Local Language Modeling for Fast Inference",
    arxiv="2406.02657",
    says=(
        "abstract: 10 to 20 times the throughput of transformers of equal perplexity, on a GPU, in batches",
        "abstract: coarse global attention in the lower layers, attention within a block in the upper ones",
        "the authors' configurations: blocks of 4 tokens, half of the layers in each decoder, a prefix of 2",
    ),
    parts={
        "block": "new blocks of tokens (a prompt's, or one) against global caches, to the context of the next block",
        "begin": "a context to its block's first token and local caches",
        "token": "a token within its block, against local caches of one block, to the next token",
    },
    checks=(
        "every part against torch on several sizes",
        "block by block and token by token, with and without a prompt, against the whole sequence at once",
        "a token sees nothing of other blocks but the context; keys and values that are read are counted",
        "same weights in transformers' GPT-NeoX, once a decoder: same logits",
    ),
    assumed=(
        "sizes: the authors' configurations, whose names are here those of their files",
        "heads, and channels that are turned: those of the model whose configuration theirs begin with",
        "a table of tokens that the authors' block decoder keeps and never reads is left out",
        "generation begins behind a whole block: a prompt is padded in front, as the authors do it",
    ),
    unpublished=(
        "the authors' configurations are named by what their layers have alone, in millions; a test counts that"
    ),
    structure=(
        "the decoder over blocks runs once a block; its caches have a position a block",
        "no input of the decoder within a block grows with the sequence",
        "tokens of a block are one vector below",
    ),
    compared=(
        "transformers' GPTNeoXModel as each of the decoders, same random weights, with embedder and prefix as in the "
        "authors' files: logits within 1e-4 (test_block_transformer.py); the authors' own files were not run: they "
        "import attention classes that transformers no longer has"
    ),
)


def _whole(config: BlockTransformer) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.language._block_transformer import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, too_few, unshaped

    missing = not_there(graphs, "block", "begin", "token")
    if missing:
        return missing
    tiny = CONFIGS["tiny"]
    head = tiny.width // tiny.heads
    found = []
    for part, layers in (
        ("block", tiny.block_layers),
        ("begin", tiny.token_layers),
        ("token", tiny.token_layers),
    ):
        found += too_few(graphs[part], "Softmax", layers, f"attention of every layer in '{part}'")
        found += too_few(graphs[part], "ScatterElements", 2 * layers, f"caches that '{part}' writes")
    far, near = ("batch", tiny.heads, "capacity", head), ("batch", tiny.heads, tiny.local, head)
    found += unshaped(graphs["block"], ids=("batch", "step", tiny.length), block_key_0=far)
    for graph in graphs.values():
        states = {str(v.name): near for v in graph.graph.inputs if str(v.name).startswith(("key_", "value_"))}
        found += unshaped(graph, **states)
    if any("capacity" in str(value.shape) for value in graphs["token"].graph.inputs):
        found.append("the decoder within a block reads what grows with the sequence")
    return found


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: BlockTransformer) -> TorchModel:
    """Three graphs of one network."""
    from edgepack.exporters.architectures.language import _block_transformer_parts

    return _block_transformer_parts.build(config, NAME)
