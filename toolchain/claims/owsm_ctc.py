"""Row 21: speech to text by an encoder alone, against an encoder and a decoder of as many parameters, over seconds.

The encoder-decoder is Canary's (row 07), called once for the speech and once for every token, three a second; the
tokens of OWSM-CTC all come out of its one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.sources.base import TorchModel

_TOKENS, _FRAMES = 3, 100  # a second


def _encoder(size: str, seconds: int) -> TorchModel:
    from edgepack.exporters.architectures.speech.owsm_ctc import NAME, OwsmCTC
    from edgepack.toolchain.claims._zoo import zoo

    del seconds
    if size == "tiny":
        return zoo(NAME, OwsmCTC(32, 4, 3, 64, 5, 1024, (1, 2), 3, 16, 2, 1))
    return zoo(NAME, OwsmCTC(256, 4, 9, 1024, 31, 1024, (3, 6), 3, 128, 2, 2))


def _encoder_decoder(size: str, seconds: int) -> TorchModel:
    from edgepack.exporters.architectures.speech.canary import NAME, Canary
    from edgepack.toolchain.claims._zoo import zoo

    del seconds
    if size == "tiny":
        return zoo(NAME, Canary(32, 4, 2, 32, 4, 1, 1024, channels=32))
    return zoo(NAME, Canary(256, 4, 7, 256, 4, 8, 1024))


def _once(seconds: int) -> list[Work]:
    return [Work(sizes={"batch": 1, "frames": _FRAMES * seconds, "tokens": 5})]


def _every_token(seconds: int) -> list[Work]:
    frames, tokens = _FRAMES * seconds, _TOKENS * seconds
    return [
        Work("encoder", {"batch": 1, "frames": frames}),
        Work(
            "decoder", {"batch": 1, "step": 1, "capacity": tokens, "encoded": -(-frames // 8)}, times=tokens
        ),
    ]


compare(
    Comparison(
        name="owsm-ctc", row="21",
        paper="OWSM-CTC: An Open Encoder-Only Speech Foundation Model for Speech Recognition, Translation, and "
        "Language Identification",
        arxiv="2402.12654",
        statements=(Statement(LATENCY, "3 to 4 times faster", "abstract, on a GPU", 3.0, "times"),),
        sides=(
            Side("encoder only", _encoder, _once), Side("encoder and decoder", _encoder_decoder, _every_token),
        ),
        lengths=(5, 10, 20, 30), quick=(2,), of="seconds of speech", sizes=("20m",), quick_size="tiny",
        notes=(
            f"{_TOKENS} tokens a second, one decoder call each; caches are handed out and in again at every call.",
            "The paper compares with its own encoder-decoder; this one is a FastConformer with a transformer decoder.",
        ),
    )
)  # fmt: skip
