"""Row 21, OWSM-CTC: speech to text, translation and language by an encoder alone, with CTC inside it too.

Every layer is an E-Branchformer (half a feed-forward network, attention beside a gated convolution, their merger, the
other half). After some of them the CTC head says what it reads so far, and the layers above are told:

    p = softmax(W_ctc x);   x += W_cond p           (one head for all of them, and for the end)

Two tokens before the frames say which language and which task; a prompt of earlier text comes in by cross-attention.
All tokens come out of one pass: cost does not depend on how many there are.
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

NAME = "owsm-ctc"


@dataclass(frozen=True)
class OwsmCTC:
    """Sizes of one network.

    Attributes:
        width: Channels.
        heads: Attention heads.
        layers: Of the encoder.
        hidden: Channels within feed-forward networks and gates.
        kernel: Of the depthwise convolutions.
        vocabulary: Tokens, blank and those of tasks and languages included.
        conditioned: After which layers the CTC head is asked and the answer fed back.
        cross_every: Every how many layers the prompt is looked at.
        prompt_width: Channels of the prompt encoder.
        prompt_heads: Its attention heads.
        prompt_layers: Its layers.
        mels: Bands of the spectrogram, 10 ms a frame.
        seed: Of the random weights.
    """

    width: int
    heads: int
    layers: int
    hidden: int
    kernel: int
    vocabulary: int
    conditioned: tuple[int, ...]
    cross_every: int
    prompt_width: int
    prompt_heads: int
    prompt_layers: int
    mels: int = 80
    seed: int = 0


CONFIGS = {
    "1b": OwsmCTC(1024, 16, 27, 4096, 31, 50002, (6, 12, 15, 21), 3, 512, 8, 4),
    "tiny": OwsmCTC(32, 4, 3, 64, 5, 29, (1, 2), 3, 16, 2, 1, mels=16),
}

CARD = Card(
    name=NAME,
    system="21",
    paper="OWSM-CTC: An Open Encoder-Only Speech Foundation Model for Speech Recognition, Translation, and Language "
    "Identification",
    arxiv="2402.12654",
    says=(
        "abstract: 3 to 4 times faster inference than the encoder-decoder OWSM",
        "abstract: 20x speed-up on long-form recognition",
        "abstract: recognition, translation and language identification by one encoder trained with CTC",
    ),
    parts={
        "main": "the spectrogram, two tokens for language and task, and a prompt, to scores of every frame's token"
    },
    checks=("the part against torch on several batches, lengths and prompts",),
    assumed=(
        "all inputs of a batch have one length, and so have their prompts",
        "the vocabulary of 50002 is that of OWSM v3.1's tokenizer with its special symbols",
        "27 layers of 1024 channels, as the released model's training configuration is named",
        "the spectrogram is an input, normalized already; weights are random from a fixed seed",
    ),
    published=(
        Published(
            "1b",
            "the table of OWSM models in ESPnet's documentation (OWSM-CTC v3.1 medium)",
            parameters=1.01e9,
        ),
    ),
    structure=(
        "no decoder: one part, without states",
        "the intermediate CTC heads stay in the graph, each a softmax that is fed back; one matrix for all of them",
    ),
    compared="the authors' ESPnet 202511 (ESPnetS2TCTCModel.encode and its CTC head), run by hand with the same "
    "weights at width 32 with 6 layers: equal within 6e-5, as many parameters (its layer norms have epsilon 1e-12)",
)


def _whole(config: OwsmCTC) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.speech._owsm_ctc import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, too_few

    lost = not_there(graphs, "main")
    if lost:
        return lost
    config, graph = CONFIGS["tiny"], graphs["main"]
    attention = config.layers + config.layers // config.cross_every + config.prompt_layers
    return too_few(graph, "Softmax", attention + len(config.conditioned), "attention and intermediate CTC")


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: OwsmCTC) -> TorchModel:
    """The part of a configuration."""
    from edgepack.exporters.architectures.speech import _owsm_ctc

    return _owsm_ctc.build(config, NAME)
