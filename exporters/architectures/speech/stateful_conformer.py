"""Row 32, "Stateful Conformer": a FastConformer encoder that runs as a stream, chunk by chunk, with cached activations.

Encoder frame t of chunk t // C attends to its own chunk (the look-ahead, C - 1 frames at most) and to the L frames
before it, L a multiple of C; convolutions see the past only:

    sees(i, j)  <=>  0 <= i // C - j // C <= L / C

Every layer has one such window, so a stack of them looks no further ahead than one does. What a chunk needs of the
past is then L keys and values and k - 1 inputs of the convolution in every layer, and no frame is computed twice:
a chunk of C frames costs C / (L + C) of what a buffer of L + C frames costs that is computed anew.
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

NAME = "stateful-conformer"
_CHUNKS = 33  # of the rollout


@dataclass(frozen=True)
class StatefulConformer:
    """Sizes of one network.

    Attributes:
        width: Channels of the encoder.
        heads: Attention heads.
        layers: Of the encoder.
        chunk: Encoder frames of 80 ms that come at a time; all but the last see ahead.
        left: Encoder frames of the past that attention sees, a multiple of `chunk`.
        mels: Bands of the spectrogram, 10 ms a frame.
        channels: Of the subsampling convolutions.
        kernel: Of the layers' convolutions.
        vocabulary: Tokens, blank (the last one) included.
        prediction: Width of the transducer's prediction and joint networks.
        prediction_layers: Of the prediction network.
        seed: Of the random weights.
    """

    width: int
    heads: int
    layers: int
    chunk: int
    left: int = 70
    mels: int = 80
    channels: int = 256
    kernel: int = 9
    vocabulary: int = 1025
    prediction: int = 640
    prediction_layers: int = 1
    seed: int = 0


CONFIGS = {
    "hybrid-large-1040ms": StatefulConformer(512, 8, 17, chunk=14),
    "hybrid-large-480ms": StatefulConformer(512, 8, 17, chunk=7),
    "hybrid-large-80ms": StatefulConformer(512, 8, 17, chunk=2),
    "hybrid-large-0ms": StatefulConformer(512, 8, 17, chunk=1),
    "tiny": StatefulConformer(
        32, 4, 2, chunk=2, left=6, mels=16, channels=8, kernel=5, vocabulary=17, prediction=16
    ),
}
_CARD = "the authors' model card of stt_en_fastconformer_hybrid_large_streaming_multi"

CARD = Card(
    name=NAME,
    system="32",
    paper="Stateful Conformer with Cache-based Inference for Streaming Automatic Speech Recognition",
    arxiv="2312.17279",
    says=(
        "abstract: better accuracy with lower latency and inference time than buffered streaming",
        "abstract: one encoder for CTC and RNNT decoders, and for a hybrid of both",
        "abstract: a network trained with several look-aheads serves several latencies",
        f"{_CARD}: look-ahead of 0, 80, 480 or 1040 ms, about 114M parameters",
    ),
    parts={
        "encoder": "8 C mel frames and the states, to C encoded frames and the next states",
        "ctc": "scores of every encoded frame's token",
        "prediction": "the transducer's prediction network: a token that is not blank, and its LSTM's state",
        "joint": "scores of the transducer's next token, from one encoded frame and the prediction",
    },
    checks=(
        "every part against torch on several batches",
        f"{_CHUNKS} chunks with cached activations against the whole sequence with masks, in torch",
        "a chunk's multiply-accumulates against those of a buffer that is computed anew (counted)",
    ),
    assumed=(
        "keys and values are cached, not the inputs that they are computed from: equal outputs, fewer products",
        "a state `seen` says which slots of the cache hold a frame, so that a stream can begin at any call",
        "the first call has seven frames that are not looked at: every call then has the same size",
        "the spectrogram is an input; weights are random from a fixed seed",
    ),
    published=tuple(
        Published(config, _CARD, parameters=114e6) for config in CONFIGS if config.startswith("hybrid-large")
    ),
    structure=(
        "the activations of the past are inputs and outputs of the encoder, of fixed size, and nothing grows",
        "a chunk's attention has one product with C + L keys a layer, and no key of the past is computed again",
    ),
    compared="transformers' NemotronAsrStreamingForRNNT (encoder, prediction and joint networks) with the same "
    "weights: equal within 5e-5 (a test)",
)


def _whole(config: StatefulConformer) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.speech._stateful_conformer import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, too_few, unshaped

    lost = not_there(graphs, "encoder", "ctc", "prediction", "joint")
    if lost:
        return lost
    config, encoder = CONFIGS["tiny"], graphs["encoder"]
    head = config.width // config.heads
    for i in range(config.layers):
        cache = ("batch", config.heads, config.left, head)
        tail = ("batch", config.width, 1, config.kernel - 1)
        for prefix in ("", "next_"):
            wanted = {f"{prefix}key_{i}": cache, f"{prefix}value_{i}": cache, f"{prefix}tail_{i}": tail}
            lost += unshaped(encoder, **wanted)
    lost += too_few(encoder, "Softmax", config.layers, "attention of every layer")
    return lost


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: StatefulConformer) -> TorchModel:
    """Parts, links and rollout of a configuration."""
    from edgepack.exporters.architectures.speech import _stateful_conformer as nets

    return nets.build(config, NAME, _CHUNKS)
