r"""How an image comes into mmMamba, which has no vision encoder: as vectors in the place of markers among the tokens.

    v = W_2 gelu(W_1 [p_1, p_2, p_3, p_4]),   p = patch convolution + learned position

for every square of 2 x 2 patches, one vector a marker, in order. It is the embedding of HoVLE, from which mmMamba is
carved (arXiv:2412.16158); its layers are the first of the network. W_1 reads a square: a convolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._patches import PatchEmbed, tokens
from edgepack.exporters.architectures.sequence._decoding import PROMPT, STEPS, build
from edgepack.exporters.sources.base import TorchModel
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence._mmmamba import Network
    from edgepack.exporters.architectures.sequence.mmmamba import MMMamba


class ImageEmbedding(torch.nn.Module):
    """Pixels [batch, 3, side, side] to vectors [batch, squares, width]."""

    def __init__(self, config: MMMamba) -> None:
        super().__init__()
        width, rows = config.width, config.image // config.patch
        self.patches = PatchEmbed(3, width, config.patch)
        self.positions = torch.nn.Parameter(torch.zeros(1, width, rows, rows))
        self.square = torch.nn.Conv2d(width, width, 2, 2)
        self.out = torch.nn.Conv2d(width, width, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """One vector a square, row by row."""
        x = self.square(self.patches(pixels) + self.positions)
        return tokens(self.out(torch.nn.functional.gelu(x)))


def placed(x: torch.Tensor, marked: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Tokens' vectors with those of images in the place of markers.

    Counting the markers before a position is a product with a triangle, and choosing a vector one with zeros and
    ones: no gather and no cumulative sum, which accelerators lack.

    Args:
        x: [batch, prompt, width].
        marked: 1.0 at markers, else 0.0, [batch, prompt].
        vectors: [batch, squares, width]; the n-th marker gets the n-th of them, and one without a vector zeros.
    """
    place = torch.arange(x.shape[1])
    before = (place[:, None] < place).to(x.dtype)
    rank = (marked @ before).unsqueeze(-1)
    chosen = (rank - torch.arange(vectors.shape[1])).abs() < 0.5  # noqa: PLR2004 - whole numbers
    # "chosen" is of all positions, and those that are no markers keep their own vectors.
    here = marked.unsqueeze(-1)
    return x * (1 - here) + (chosen.to(x.dtype) * here) @ vectors


class Prefill(torch.nn.Module):
    """ids [batch, prompt] and vectors of its images to logits [batch, vocabulary] and all states."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: torch.Tensor, vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See `Network.prefill`."""
        logits, states = self.net.prefill(ids, vectors)
        return logits, *states


def build_with_image(net: Network, name: str, shapes: dict[str, str]) -> TorchModel:
    """Three parts, links and rollout: an image, a prompt in which it stands, single tokens."""
    config = net.config
    model = build(
        net, name, shapes, vocabulary=config.vocabulary, capacity=config.positions, placed=bool(config.attention)
    )  # fmt: skip
    image = torch_part(
        net.image, f"pixels:float32[batch=2,3,{config.image},{config.image}]", outputs=["vectors"], where=name
    )
    prefill = torch_part(
        Prefill(net), f"ids:int64[batch=2,prompt={PROMPT}]", f"vectors:float32[batch,{config.squares},{config.width}]",
        outputs=["logits", *(f"next_{state}" for state in shapes)], where=name,
        upper={"ids": config.vocabulary}, limits={"prompt": config.positions},
    )  # fmt: skip
    links = (StateLink("image", "vectors", "prefill", "vectors"), *model.links)
    parts = {"image": image, "prefill": prefill, "decode": model.parts["decode"]}
    return TorchModel(parts, model.facts, links=links, rollout=lambda: rollout(net))


def rollout(net: Network) -> list[Call]:
    """An image, a prompt with markers for it in its middle, and single steps, with the whole sequence's logits."""
    import numpy as np

    config, rng = net.config, np.random.default_rng(7)
    pixels = rng.standard_normal((1, 3, config.image, config.image)).astype(np.float32)
    ids = rng.integers(0, config.marker, (1, PROMPT + STEPS))
    first = (PROMPT - config.squares) // 2
    ids[:, first : first + config.squares] = config.marker
    with torch.no_grad():
        vectors = net.image(torch.from_numpy(pixels))
        whole = net.whole(torch.from_numpy(ids), vectors).numpy()
    calls = [
        Call("image", {"pixels": pixels}, {"vectors": vectors.numpy()}),
        Call("prefill", {"ids": ids[:, :PROMPT]}, {"logits": whole[:, PROMPT - 1]}),
    ]
    for t in range(PROMPT, PROMPT + STEPS):
        place = {"position": np.array([t])} if config.attention else {}
        calls.append(Call("decode", {"ids": ids[:, t], **place}, {"logits": whole[:, t]}))
    return calls
