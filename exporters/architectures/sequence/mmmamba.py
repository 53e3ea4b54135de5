"""Row 35, "mmMamba": a multimodal language model whose attention layers were carved into Mamba-2, all or most of them.

A carved layer takes over the queries, keys, values and output of the attention that it was; with a short convolution
and SiLU on q, k, v, step sizes d = softplus(W x + b) and a rate for every head (`blocks/_ssm.py`):

    h_t = exp(-d_t r) h_{t-1} + d_t v_t k_t^T,   y_t = h_t q_t,   out = W (norm(y) silu(G x))

Its state does not grow with the sequence. The hybrid keeps every fourth layer, beginning with the first, as attention,
with a cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Growth

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "mmmamba"


@dataclass(frozen=True)
class MMMamba:
    """Sizes of one network.

    Attributes:
        vocabulary: Tokens.
        width: Channels.
        hidden: Channels within the feed-forward network.
        layers: Of both kinds.
        heads: Of queries.
        key_heads: Of keys and values.
        head_width: Channels of a head, and states of each of them.
        attention: Which layers stayed attention; none in the linear form.
        chunk: Steps that are computed as one product.
        positions: Most positions that a cache holds.
        image: Pixels of an image's side; 0 in a form that reads text alone.
        patch: Pixels of a patch's side.
        marker: The token in whose place a vector of an image stands.
        seed: Of the random weights.
    """

    vocabulary: int
    width: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    attention: tuple[int, ...] = ()
    chunk: int = 64
    positions: int = 4096
    image: int = 0
    patch: int = 14
    marker: int = 92546
    seed: int = 0

    @property
    def squares(self) -> int:
        """Vectors of an image, one for 2 x 2 patches."""
        return (self.image // self.patch // 2) ** 2


_HOVLE = (92553, 2048, 8192, 32, 16, 8, 128)

CONFIGS = {
    "linear": MMMamba(*_HOVLE, image=448),
    "hybrid": MMMamba(*_HOVLE, attention=tuple(range(0, 32, 4)), image=448),
    "transformer": MMMamba(*_HOVLE, attention=tuple(range(32)), image=448),
    "linear-tiny": MMMamba(61, 32, 48, 2, 4, 2, 8, chunk=4, positions=48),
    "image-tiny": MMMamba(
        61, 32, 48, 4, 4, 2, 8, attention=(0,), chunk=4, positions=48, image=16, patch=4, marker=60
    ),
    "tiny": MMMamba(61, 32, 48, 4, 4, 2, 8, attention=(0,), chunk=4, positions=48),
}

CARD = Card(
    name=NAME,
    system="35",
    paper="Multimodal Mamba: Decoder-only Multimodal State Space Model via Quadratic to Linear Distillation",
    arxiv="2502.13145",
    says=(
        "abstract: at 103K tokens the linear form is 20.6x faster than HoVLE and takes 75.8 % less memory",
        "abstract: the hybrid form is 13.5x faster and takes 60.2 % less memory",
        "the authors' page: distilled from HoVLE-2.6B",
        "the authors' configuration: layers 0, 4, .. 28 of the hybrid are attention",
    ),
    parts={
        "image": "an image to a vector for every 2 x 2 of its patches, by convolutions; not in forms of text alone",
        "prefill": "a prompt (with an image's vectors in the place of markers) to the logits after it, and all states",
        "decode": "a token against states of constant size, and the caches of the hybrid's attention layers",
    },
    checks=(
        "single steps after a prompt against the whole sequence, in the linear and the hybrid form",
        "the linear form's states do not depend on how many positions there may be",
        "an image, a prompt around it and single steps against the whole sequence; vectors stand where markers were",
        "a carved layer keeps every matrix of the attention that it was",
    ),
    assumed=(
        "sizes of InternLM2-1.8B with eight more layers, those of HoVLE's holistic embedding",
        "a short convolution of two taps, a gate with a norm and no direct path, as the authors' configuration says",
        "images have one size, 448 pixels a side and 256 vectors, and their own layers are the first of the 32",
        "weights are random from a fixed seed",
    ),
    unpublished="no count is given; HoVLE's name says 2.6B, of which a second table of text, 190M, is not here",
    structure=(
        "one of four layers holds keys and values; the others hold one state of constant size and no softmax",
        "no loop over time in the prefill",
    ),
    growth=(
        Growth(
            "mmmamba",
            "multiply-accumulates",
            0.00,
            0.44,
            (1024, 2048, 4096, 8192),
            "positions before the one token that is computed (n tokens: one more)",
            "edgepack claims mmmamba",
        ),
    ),
    compared=(
        "the authors' carved layer (hustvl/mmMamba, Mamba2_Attention), its GPU kernel replaced by the plain scan that "
        "stands in the same file, same random weights: as many parameters, outputs over 41 tokens differ by 1.7e-6 of "
        "up to 2.4 (32 channels) and over 300 tokens by 1.1e-5 of up to 3.2 (2,048 channels); run by hand. The "
        "image's embedding with theirs (VisionEmbeddings, pixel_shuffle and the two layers behind it): 5.6e-7 of up to "
        "1.1 for 256 vectors of 448 pixels; by hand too. The scan "
        "with transformers' Mamba2Mixer, the same weights (a test)"
    ),
)


def _whole(config: MMMamba) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.sequence._mmmamba import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, unshaped

    lost = not_there(graphs, "prefill", "decode")
    if lost:
        return lost
    config = CONFIGS["tiny"]
    carved = [i for i in range(config.layers) if i not in config.attention]
    state = ("batch", config.heads, config.head_width, config.head_width)
    for part, graph in graphs.items():
        found = operators(graph)
        if found["Softmax"] != len(config.attention):
            lost.append(f"{part}: {found['Softmax']} of {len(config.attention)} attention layers")
        lost += [f"{part}: {found[name]} {name}" for name in ("Scan", "Loop") if found[name]]
    return lost + unshaped(graphs["decode"], **{f"state_{i}": state for i in carved})


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: MMMamba) -> TorchModel:
    """Parts, links and rollout."""
    from edgepack.exporters.architectures.sequence import _decoding, _mmmamba_image
    from edgepack.exporters.architectures.sequence._mmmamba import Network, state_shapes

    net = Network(config).eval()
    if config.image:
        return _mmmamba_image.build_with_image(net, NAME, state_shapes(config))
    return _decoding.build(
        net,
        NAME,
        state_shapes(config),
        vocabulary=config.vocabulary,
        capacity=config.positions,
        placed=bool(config.attention),
    )
