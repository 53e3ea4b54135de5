"""Row 99: the four tokens of a block behind n others, by a Block Transformer and by a transformer of as many layers.

The one calls its decoder over blocks once and that within a block four times, the other all of its layers four times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import MACS, RATE, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

_BATCH, _LENGTH = 4, 4
_VOCABULARY = 16384
_WIDTHS = {"25m": (512, 8, 4, _VOCABULARY), "tiny": (32, 4, 1, 61)}
"""Width, heads, layers of each of the two decoders, tokens."""


def _blocks(size: str, tokens: int) -> TorchModel:
    from edgepack.exporters.architectures.language.block_transformer import NAME, BlockTransformer
    from edgepack.toolchain.claims._zoo import zoo

    del tokens
    width, heads, layers, vocabulary = _WIDTHS[size]
    return zoo(
        NAME,
        BlockTransformer(
            width, layers, layers, heads, width // heads // 4, length=_LENGTH, vocabulary=vocabulary
        ),
    )


def _tokens(size: str, tokens: int) -> TorchModel:
    from edgepack.exporters.architectures.return_of_the_encoder import NAME, LanguageModel
    from edgepack.toolchain.claims._zoo import zoo

    del tokens
    width, heads, layers, vocabulary = _WIDTHS[size]
    # Three matrices of 8 / 3 of the width are the two of four times the width.
    return zoo(NAME, LanguageModel(vocabulary, width, heads, 8 * width // 3, 0, 2 * layers))


def _block(tokens: int) -> list[Work]:
    return [
        Work("block", {"batch": _BATCH, "step": 1, "capacity": tokens // _LENGTH}),
        Work("begin", {"batch": _BATCH}),
        Work("token", {"batch": _BATCH}, times=_LENGTH - 1),
    ]


def _every(tokens: int) -> list[Work]:
    return [Work("decoder", {"batch": _BATCH, "step": 1, "capacity": tokens}, times=_LENGTH)]


compare(
    Comparison(
        name="block-transformer", row="99",
        paper="Block Transformer: Global-to-Local Language Modeling for Fast Inference", arxiv="2406.02657",
        statements=(
            Statement(RATE, "10 to 20x at equal perplexity", "abstract, on a GPU, in large batches", 10.0, "times"),
            Statement(MACS, "no figure", "the abstract is of throughput", None, "times"),
        ),
        sides=(Side("Block Transformer", _blocks, _block), Side("transformer", _tokens, _every)),
        lengths=(256, 512, 1024, 2048), quick=(64,), of="tokens before", sizes=("25m",), quick_size="tiny", equal=False,
        notes=(
            f"A call writes {_LENGTH} tokens in each of {_BATCH} sequences; caches are handed out and in again.",
            "Layers have 25 million parameters on both sides; the Block Transformer has two more tables of tokens.",
            "The paper compares at equal perplexity, which random weights do not have: here layers are equal.",
        ),
    )
)  # fmt: skip
