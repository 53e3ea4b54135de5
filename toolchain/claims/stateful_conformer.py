"""Row 32: a chunk of a stream with cached activations, against a buffer of the same frames that is computed anew.

With L frames of the past and C of the chunk, the cache leaves C of L + C frames to be computed; the length is L.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.claims.base import Statement
from edgepack.toolchain.claims.comparing import LATENCY, MACS, Comparison, Side, Work, compare

if TYPE_CHECKING:
    from edgepack.exporters.architectures.speech.stateful_conformer import StatefulConformer
    from edgepack.exporters.sources.base import TorchModel

_CHUNK = 7


def _config(size: str, left: int) -> StatefulConformer:
    from edgepack.exporters.architectures.speech.stateful_conformer import StatefulConformer

    if size == "tiny":
        return StatefulConformer(32, 4, 2, _CHUNK, left, mels=16, channels=8, vocabulary=17, prediction=16)
    return StatefulConformer(176, 4, 16, _CHUNK, left, channels=176)


def _cached(size: str, left: int) -> TorchModel:
    from edgepack.exporters.architectures.speech.stateful_conformer import NAME
    from edgepack.toolchain.claims._zoo import zoo

    return zoo(NAME, _config(size, left))


def _anew(size: str, left: int) -> TorchModel:
    from edgepack.exporters.architectures._building import one_part
    from edgepack.exporters.architectures.speech._stateful_conformer import Network

    config = _config(size, left)
    frames = 8 * (left + _CHUNK) - 7
    return one_part(
        "buffer", Network(config), "automatic-speech-recognition",
        f"mels:float32[1,{frames},{config.mels}]", outputs=["encoded"],
    )  # fmt: skip


def _chunk(left: int) -> list[Work]:
    del left
    return [Work("encoder", {"batch": 1})]


compare(
    Comparison(
        name="stateful-conformer", row="32",
        paper="Stateful Conformer with Cache-based Inference for Streaming Automatic Speech Recognition",
        arxiv="2312.17279",
        statements=(
            Statement(LATENCY, "lower latency than buffered streaming", "abstract", None, "times"),
            Statement(MACS, "lower inference time than buffered streaming", "abstract", None, "times"),
        ),
        sides=(
            Side("cached", _cached, _chunk, dynamic=False), Side("buffer anew", _anew, dynamic=False),
        ),
        lengths=(14, 28, 56, 70), quick=(14,), of="encoder frames of the past", sizes=("small",),
        quick_size="tiny",
        notes=(f"Both encode a chunk of {_CHUNK} frames (560 ms); the buffer computes its past again.",),
    )
)  # fmt: skip
