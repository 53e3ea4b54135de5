"""Row 07: layers moved from the decoder to the encoder, at equal size: speech of a fixed length, tokens over lengths.

At equal widths three decoder layers are two encoder layers (16 d^2 and 24 d^2). The work is one encoder call and a
decoder call for every token; the paper's figure is of whole transcriptions, on GPUs, of models of one billion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import RATE, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

_SECONDS = 10
_LAYERS = {"before": (6, 12), "moved": (12, 3)}
_WIDTHS = {"30m": 256, "tiny": 32}


def _built(form: str, size: str) -> TorchModel:
    from edgepack.exporters.architectures.speech.canary import NAME, Canary
    from edgepack.toolchain.claims._zoo import zoo

    width, (encoder, decoder) = _WIDTHS[size], _LAYERS[form]
    return zoo(NAME, Canary(width, 4, encoder, width, 4, decoder, 1024, channels=min(256, width)))


def _before(size: str, tokens: int) -> TorchModel:
    del tokens
    return _built("before", size)


def _moved(size: str, tokens: int) -> TorchModel:
    del tokens
    return _built("moved", size)


def _transcription(tokens: int) -> list[Work]:
    frames = 100 * _SECONDS
    return [
        Work("encoder", {"batch": 1, "frames": frames}),
        Work("decoder", {"batch": 1, "step": 1, "capacity": tokens, "encoded": frames // 8}, times=tokens),
    ]


compare(
    Comparison(
        name="canary", row="07", paper="Training and Inference Efficiency of Encoder-Decoder Speech Models",
        arxiv="2503.05931",
        statements=(Statement(RATE, "3x faster (RTFx) at equal size", "abstract", 3.0, "times"),),
        sides=(
            Side("moved to the encoder", _moved, _transcription), Side("before", _before, _transcription),
        ),
        lengths=(8, 16, 32, 64), quick=(8,), of="tokens", sizes=("30m",), quick_size="tiny",
        notes=(
            f"{_SECONDS} s of speech; a call is a whole transcription: the encoder once, the decoder once a token.",
            "Caches are handed out and in again at every step, on both sides.",
            "Widths are those of the released models divided by four: 12 + 3 layers against 6 + 12.",
        ),
    )
)  # fmt: skip
