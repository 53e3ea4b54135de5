r"""Row 66, TokenFormer: projections as attention between tokens and parameters, so that a network grows by appending.

With n parameter tokens, keys K and values V, every projection of a transformer becomes

    a = x K^T,   s = gelu(a sqrt(n) / |a|_2),   y = s V

New parameters are new rows of K and V: widths stay, and what was learned stays where it is. Here a stage's rows are
matrices of their own, x K^T = [x K_1^T, x K_2^T], s V = s_1 V_1 + s_2 V_2, and the weight file of a grown network holds
that of the network it grew from, tensor by tensor. With width d, n tokens in each of the four projections of attention
and 4 n in the feed-forward one, L layers and vocabulary v: 16 L n d + v d + 2 d parameters.
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

NAME = "tokenformer"
_PROJECTIONS = 5  # of a layer: queries, keys, values, output, feed-forward


@dataclass(frozen=True)
class TokenFormer:
    """Sizes of a language model.

    Attributes:
        vocabulary: Tokens, padded.
        width: Channels.
        heads: Attention heads.
        layers: Decoder layers.
        slots: Parameter tokens of every projection of the attention, by stage of growth; the feed-forward one has
            four times as many.
        turned: Channels of a head that are turned by their position.
        positions: Most positions that a sequence may have.
        seed: Of the random weights.
    """

    vocabulary: int
    width: int
    heads: int
    layers: int
    slots: tuple[int, ...]
    turned: int = 16
    positions: int = 2048
    seed: int = 0

    @property
    def parameters(self) -> int:
        """By the formula above."""
        return 16 * self.layers * sum(self.slots) * self.width + self.vocabulary * self.width + 2 * self.width


_VOCABULARY = 50304

CONFIGS = {
    "150m": TokenFormer(_VOCABULARY, 768, 12, 12, (768,)),
    "450m": TokenFormer(_VOCABULARY, 1024, 16, 24, (1024,)),
    "900m": TokenFormer(_VOCABULARY, 1280, 16, 32, (1280,), turned=20),
    "354m": TokenFormer(_VOCABULARY, 1024, 16, 24, (768,), positions=1024),
    "757m-grown": TokenFormer(_VOCABULARY, 1024, 16, 24, (768, 1024), positions=1024),
    "124m": TokenFormer(_VOCABULARY, 768, 12, 12, (576,)),
    "1.4b-grown": TokenFormer(_VOCABULARY, 768, 12, 12, (576, 8640)),
    "tiny": TokenFormer(61, 32, 4, 2, (24,), turned=4, positions=64),
    "tiny-grown": TokenFormer(61, 32, 4, 2, (24, 16), turned=4, positions=64),
}

_LIST = "the authors' public repository, README, list of models"
_GROWTH = "the authors' public repository, README, incremental scaling on OpenWebText2: the model's name"

CARD = Card(
    name=NAME,
    system="66",
    paper="TokenFormer: Rethinking Transformer Scaling with Tokenized Model Parameters",
    arxiv="2410.23168",
    says=(
        "abstract: from 124M to 1.4B parameters by appending key-value parameter pairs, at much less training",
        "abstract: all linear projections are attention between tokens and parameters",
    ),
    parts={"decoder": "new tokens (a prompt or one token) against caches of fixed capacity, to logits"},
    checks=(
        "the part against torch on several sizes; single steps against the whole sequence at once",
        "a grown artifact holds every tensor of the one that it grew from, and runs on that one's weight file",
    ),
    assumed=(
        "sizes of 124M and 1.4B: 12 layers of 768 channels, the numbers of tokens are those that give these counts",
        "the new pairs are random from a seed of their own, as all weights",
        "a sum of 1e-12 keeps the norm of the scores from being zero",
    ),
    published=(
        Published("150m", _LIST, parameters=150e6),
        Published("450m", _LIST, parameters=450e6),
        Published("900m", _LIST, parameters=900e6),
        Published("354m", _GROWTH, parameters=354e6),
        Published("757m-grown", _GROWTH, parameters=757e6),
        Published("124m", "abstract", parameters=124e6),
        Published("1.4b-grown", "abstract", parameters=1.4e9),
    ),
    structure=(
        "no projection but the output's: two products with parameters, and a GELU between them, five times a layer",
        "caches of fixed capacity",
    ),
    compared=(
        "the authors' layer (Pattention, with the norm of their configurations), same weights, run by hand: outputs of "
        "up to 4.8 differ by less than 2e-6 at widths 32 and 768; the rest of their network needs a GPU: not run"
    ),
)


def _whole(config: TokenFormer) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.language._tokenformer import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, too_few

    lost = not_there(graphs, "decoder")
    if lost:
        return lost
    layers, graph = CONFIGS["tiny"].layers, graphs["decoder"]
    found = operators(graph)
    gates = found["Gelu"] + found["Erf"]
    if gates != layers * _PROJECTIONS:
        lost.append(f"{gates} of {layers * _PROJECTIONS} GELUs between keys and values of parameters")
    products = layers * (2 * _PROJECTIONS + 2) + 1
    if found["MatMul"] + found["Gemm"] != products:
        lost.append(f"{found['MatMul'] + found['Gemm']} products and not {products}")
    lost += too_few(graph, "Softmax", layers, "attention between tokens")
    return lost + too_few(graph, "ScatterElements", 2 * layers, "caches of fixed capacity")


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: TokenFormer) -> TorchModel:
    """The decoder of a configuration."""
    from edgepack.exporters.architectures import _encoder_decoder_parts as parts
    from edgepack.exporters.architectures.language._tokenformer import Network

    return parts.build(Network(config), NAME, parts.Play(config.vocabulary, config.positions))
