r"""Row 08, CRATE: a transformer whose layers are steps of an optimization, compress and then sparsify.

With orthonormal bases U_k of K subspaces (one matrix, no separate queries, keys and values) and a dictionary D:

    MSSA   z' = z + W [softmax(U_k n z (U_k n z)^T / sqrt(w)) U_k n z]_k + b         compress against the subspaces
    ISTA   z'' = relu(y + s D^T (y - D y) - s l),   y = n z',   s = l = 0.1           one step towards a sparse code

n is layer normalization. The same layers read patches of an image, with a class token, and tokens of a text, each
seeing those before it: since keys are values, a causal step has one cache a layer where others have two.
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

NAME = "crate"


@dataclass(frozen=True)
class Crate:
    """Sizes of one form.

    Attributes:
        width: Channels.
        layers: Of them.
        heads: Subspaces, each of width / heads dimensions.
        outputs: Classes of an image, or tokens.
        image: Pixels of a square image's side; 0 for a text.
        patch: Pixels of a patch's side.
        positions: Most tokens of a text.
        seed: Of the random weights.
    """

    width: int
    layers: int
    heads: int
    outputs: int = 1000
    image: int = 224
    patch: int = 16
    positions: int = 1024
    seed: int = 0


CONFIGS = {
    "tiny-384": Crate(384, 12, 6),
    "small": Crate(576, 12, 12),
    "base": Crate(768, 12, 12),
    "large": Crate(1024, 24, 16),
    "causal-base": Crate(768, 12, 12, outputs=50257, image=0),
    "tiny": Crate(32, 2, 4, outputs=10, image=32, patch=8),
    "causal-tiny": Crate(32, 2, 4, outputs=61, image=0, positions=40),
}

CARD = Card(
    name=NAME,
    system="08",
    paper="White-Box Transformers via Sparse Rate Reduction: Compression Is All There Is?",
    arxiv="2311.13110",
    says=(
        "abstract: the same class of architectures serves encoders and decoders, of images and text",
        "abstract: performance close to ViT, MAE, DINO, BERT and GPT2",
    ),
    parts={
        "main": "image form: an image to scores of its classes",
        "decoder": "causal form: new tokens against one cache of fixed capacity a layer, to logits",
    },
    checks=(
        "against torch on several batches; causal steps against the whole sequence at once",
        "queries, keys and values are one projection: counted in parameters and in the graph",
    ),
    assumed=(
        "the paper's size 'Tiny' is called tiny-384 here, where tiny is the smallest of all that is built",
    ),
    published=(
        Published("tiny-384", "table of ImageNet results: 6.09M", parameters=6.09e6),
        Published("small", "table of ImageNet results: 13.12M", parameters=13.12e6),
        Published("base", "table of ImageNet results: 22.80M", parameters=22.80e6),
        Published("large", "table of ImageNet results: 77.64M", parameters=77.64e6),
    ),
    structure=(
        "one projection a layer is query, key and value",
        "an ISTA step after every attention: products with a dictionary and its transpose, then a threshold",
    ),
    compared=(
        "the authors' model/crate.py and model/crate_gpt.py, same random weights, both tiny forms, run outside the "
        "project: scores differ by at most 5e-8 (of a spread of 0.13), logits by 4e-7 (of 0.45); their four sizes "
        "have exactly as many parameters"
    ),
)


def _whole(config: Crate) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.language import _crate

    if config.image:
        return Whole(_crate.ImageNetwork(config), (torch.zeros((1, 3, config.image, config.image)),))
    return Whole(_crate.TextNetwork(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators, too_few

    missing = not_there(graphs, "main")
    if missing:
        return missing
    graph, tiny = graphs["main"], CONFIGS["tiny"]
    found = too_few(graph, "Softmax", tiny.layers, "a compression step in every layer")
    found += too_few(graph, "Relu", tiny.layers, "a sparsification step in every layer")
    # A layer multiplies with U, with itself twice, with W, with D twice and with its transpose: as one, 2 products.
    products = operators(graph)["MatMul"] + operators(graph)["Gemm"]
    if products > 7 * tiny.layers + 2:
        found.append(f"{products} products: queries, keys and values have become projections of their own")
    return found


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: Crate) -> TorchModel:
    """The classifier, or the step of the causal form."""
    from edgepack.exporters.architectures.language import _crate_parts

    return _crate_parts.image(config, NAME) if config.image else _crate_parts.causal(config, NAME)
