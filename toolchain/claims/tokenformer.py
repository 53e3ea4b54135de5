"""Row 66: a network that grew by parameter pairs beside one of as many parameters that is wider, over prompts.

Growing leaves the width as it was, and with it what attention between tokens costs: of 256 channels here, against 512
in a transformer of equal size and depth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MACS, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

_VOCABULARY = 16384


def _grown(size: str, tokens: int) -> TorchModel:
    from edgepack.exporters.architectures.language.tokenformer import NAME, TokenFormer
    from edgepack.toolchain.claims._zoo import zoo

    del tokens
    if size == "tiny":
        return zoo(NAME, TokenFormer(61, 32, 4, 2, (24, 40), turned=4))
    return zoo(NAME, TokenFormer(_VOCABULARY, 256, 4, 8, (256, 1024)))


def _wide(size: str, tokens: int) -> TorchModel:
    from edgepack.exporters.architectures.return_of_the_encoder import NAME, LanguageModel
    from edgepack.toolchain.claims._zoo import zoo

    del tokens
    if size == "tiny":
        return zoo(NAME, LanguageModel(61, 48, 4, 160, 0, 2))
    return zoo(NAME, LanguageModel(_VOCABULARY, 512, 8, 2392, 0, 8))


def _prompt(tokens: int) -> list[Work]:
    return [Work("decoder", {"batch": 1, "step": tokens, "capacity": tokens})]


compare(
    Comparison(
        name="tokenformer", row="66",
        paper="TokenFormer: Rethinking Transformer Scaling with Tokenized Model Parameters", arxiv="2410.23168",
        statements=(
            Statement(LATENCY, "no figure", "the abstract is of the cost of training", None, "times"),
            Statement(MACS, "no figure", "the abstract is of the cost of training", None, "times"),
        ),
        sides=(Side("grown TokenFormer", _grown, _prompt), Side("wider transformer", _wide, _prompt)),
        lengths=(256, 512, 1024, 2048), quick=(64, 128), of="tokens of a prompt", sizes=("46m",), quick_size="tiny",
        notes=(
            "From 12.6 to 46.1 million parameters by appending pairs (256 to 1280 in a projection), at 8 layers.",
            "That old weights stay, the paper's claim, is not measured: a test runs the grown artifact on them.",
        ),
    )
)  # fmt: skip
