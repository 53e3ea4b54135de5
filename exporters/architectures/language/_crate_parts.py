"""CRATE's two forms as an exporter needs them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures._building import facts, one_part
from edgepack.exporters.architectures._encoder_decoder_parts import Play, placed, steps
from edgepack.exporters.architectures.language._crate import ImageNetwork, TextNetwork
from edgepack.exporters.sources.base import TorchModel
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import StateLink

if TYPE_CHECKING:
    from edgepack.exporters.architectures.language.crate import Crate


def image(config: Crate, name: str) -> TorchModel:
    """The classifier."""
    shape = f"image:float32[batch=2,3,{config.image},{config.image}]"
    return one_part(name, ImageNetwork(config), "image-classification", shape, outputs=["scores"])


def causal(config: Crate, name: str) -> TorchModel:
    """The step of a language model, its one cache a layer, and the rollout."""
    net = TextNetwork(config).eval()
    play = Play(config.outputs, config.positions)
    caches = [f"cache_{i}" for i in range(config.layers)]
    shape = f"float32[batch,{config.heads},capacity,{config.width // config.heads}]"
    part = torch_part(
        net, "ids:int64[batch=2,step=2]", "positions:int64[step]", f"slots:int64[capacity={play.capacity}]",
        *(f"{cache}:{shape}" for cache in caches), outputs=["logits", *(f"next_{cache}" for cache in caches)],
        where=name, upper={"ids": config.outputs}, limits={"capacity": config.positions},
        size_sets=[{"batch": b, "step": s, "capacity": c} for b, s, c in ((1, 1, 6), (3, 1, 14), (1, 4, 4))],
    )  # fmt: skip
    return TorchModel(
        {"decoder": replace(part, example=placed(part))},
        facts(name, net, "text-generation"),
        links=tuple(StateLink("decoder", f"next_{cache}", "decoder", cache) for cache in caches),
        rollout=lambda: steps(lambda ids: net.whole(torch.from_numpy(ids)), play),
    )
