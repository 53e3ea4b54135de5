"""Row 07, Canary: a FastConformer encoder and a transformer decoder, and how many layers each of them has.

With encoder width e and decoder width d, in parameters (biases and norms left out):

    encoder layer   2 (2 e 4 e) + 5 e^2 + 3 e^2 = 24 e^2      two feed-forward networks, attention, convolution
    decoder layer   8 d^2 + 4 d^2 + 4 d^2 = 16 d^2            feed-forward, self-attention, cross-attention

At equal widths three decoder layers are two encoder layers. The encoder runs once over the whole input, in parallel;
a decoder layer runs once for every token, so that its time is that of reading its weights. Moving layers from the
decoder to the encoder leaves the size as it is and takes steps off every token.
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

NAME = "canary"
_STEPS = 36  # of the rollout


@dataclass(frozen=True)
class Canary:
    """Sizes of one network.

    Attributes:
        encoder_width: Channels of the encoder.
        encoder_heads: Attention heads of the encoder.
        encoder_layers: FastConformer layers.
        width: Channels of the decoder.
        heads: Attention heads of the decoder.
        decoder_layers: Transformer layers.
        vocabulary: Tokens, those of tasks and languages included.
        mels: Bands of the spectrogram, 10 ms a frame.
        channels: Of the subsampling convolutions.
        kernel: Of the encoder layers' convolutions.
        positions: Most tokens that a text may have.
        seed: Of the random weights.
    """

    encoder_width: int
    encoder_heads: int
    encoder_layers: int
    width: int
    heads: int
    decoder_layers: int
    vocabulary: int
    mels: int = 128
    channels: int = 256
    kernel: int = 9
    positions: int = 1024
    seed: int = 0


CONFIGS = {
    "1b-flash": Canary(1024, 8, 32, 1024, 8, 4, 5248),
    "1b": Canary(1024, 8, 24, 1024, 8, 24, 4128),
    "1b-moved": Canary(1024, 8, 36, 1024, 8, 6, 4128),
    "180m-flash": Canary(512, 8, 17, 1024, 8, 4, 5248),
    "tiny": Canary(32, 4, 3, 24, 4, 1, 61, mels=16, channels=8, kernel=5, positions=64),
    "tiny-before": Canary(32, 4, 1, 24, 4, 5, 61, mels=16, channels=8, kernel=5, positions=64),
}

CARD = Card(
    name=NAME,
    system="07",
    paper="Training and Inference Efficiency of Encoder-Decoder Speech Models",
    arxiv="2503.05931",
    says=(
        "abstract: moving parameters from the decoder to the encoder, 3x speed as inverse real-time factor (RTFx)",
        "abstract: the major bottleneck of inference lies in the autoregressive decoder steps",
        "the authors' model card of canary-1b: 24 encoder and 24 decoder layers",
        "the authors' model card of canary-1b-flash: 32 encoder and 4 decoder layers, more than 1000 RTFx (A100)",
        "the authors' model card of canary-180m-flash: 17 encoder and 4 decoder layers, more than 1200 RTFx",
    ),
    parts={
        "encoder": "the spectrogram, once, to the keys and values of every decoder layer's cross-attention",
        "decoder": "new tokens (the prompt of task tokens, or one token) against caches of fixed capacity, to scores",
    },
    checks=(
        "every part against torch on several lengths and batches",
        f"{_STEPS} single steps against the whole text at once, in torch without caches; a prompt likewise (a test)",
        "'1b' and '1b-moved' are of one size within 1 %, with a quarter of the decoder layers (counted)",
    ),
    assumed=(
        "'1b-moved' is '1b' with 18 decoder layers made 12 encoder layers: the authors' flash models moved and shrank",
        "the vocabularies are those of the released tokenizers: 4128 of canary-1b, 5248 of the flash models",
        "canary-180m-flash has a linear bridge from 512 to 1024 channels: with it the published size comes out",
        "all inputs of a batch have one length; the spectrogram is an input; weights are random from a fixed seed",
    ),
    published=(
        Published("1b-flash", "the authors' model card of canary-1b-flash", parameters=883e6),
        Published("180m-flash", "the authors' model card of canary-180m-flash", parameters=182e6),
        Published("1b", "title and model card of canary-1b (one digit)", parameters=1e9),
    ),
    structure=(
        "the encoder runs once at an eighth of the spectrogram's rate, by three convolutions of stride 2",
        "no decoder step computes a key or a value of the input again",
    ),
    compared="transformers' CanaryForConditionalGeneration with the same weights: equal within 5e-5 (a test)",
)


def _whole(config: Canary) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.speech._canary import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, unshaped

    lost = not_there(graphs, "encoder", "decoder")
    if lost:
        return lost
    config = CONFIGS["tiny"]
    strides = [
        node
        for node in graphs["encoder"].graph.all_nodes()
        if node.op_type == "Conv" and tuple(node.attributes.get_ints("strides", ())) == (2, 2)
    ]
    if len(strides) != 3:  # noqa: PLR2004 - 2^3 = 8
        lost.append(f"8x subsampling: {len(strides)} of 3 convolutions of stride 2")
    head = config.width // config.heads
    for i in range(config.decoder_layers):
        for kind in ("key", "value"):
            memory = {f"cross_{kind}_{i}": ("batch", config.heads, "encoded", head)}
            cache = {f"{kind}_{i}": ("batch", config.heads, "capacity", head)}
            lost += unshaped(graphs["decoder"], **memory, **cache)
    return lost


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: Canary) -> TorchModel:
    """Parts, links and rollout of a configuration."""
    from edgepack.exporters.architectures.speech import _canary

    return _canary.build(config, NAME, _STEPS)
