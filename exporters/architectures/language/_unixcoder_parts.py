"""UniXcoder's three graphs as an exporter needs them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.architectures._encoder_decoder_parts import Play, placed, ragged, steps
from edgepack.exporters.architectures.language._unixcoder import Context, Decoder, Encoder, Network
from edgepack.exporters.sources.base import TorchModel
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.architectures.language.unixcoder import UniXcoder

_STEPS = 16  # after a context, in the rollout


def build(config: UniXcoder, name: str) -> TorchModel:
    """Parts, links and rollout."""
    net = Network(config).eval()
    play = Play(config.vocabulary, config.positions)
    upper, source = {"ids": config.vocabulary}, f"source={play.source}"
    caches = [f"{kind}_{i}" for i in range(config.layers) for kind in ("key", "value")]
    after = [f"next_{cache}" for cache in caches]
    shape = f"float32[batch,{config.heads},capacity,{config.width // config.heads}]"
    slots = f"slots:int64[capacity={play.capacity}]"
    limits = {"source": config.positions, "capacity": config.positions}
    encoder = torch_part(
        Encoder(net), f"ids:int64[batch=2,{source}]", "real:int64[batch,source]",
        outputs=["vectors", "whole"], where=name, upper=upper, fixed={"real": ragged},
        limits={"source": config.positions},
    )  # fmt: skip
    context = torch_part(
        Context(net), f"ids:int64[batch=2,{source}]", slots, outputs=["logits", *after],
        where=name, upper=upper, fixed={"slots": _numbered}, limits=limits,
        size_sets=[{"batch": b, "source": s, "capacity": c} for b, s, c in ((1, 3, 7), (3, 4, 12))],
    )  # fmt: skip
    decoder = torch_part(
        Decoder(net), "ids:int64[batch=2,step=2]", "positions:int64[step]", slots,
        *(f"{cache}:{shape}" for cache in caches), outputs=["logits", *after],
        where=name, upper=upper, limits={"capacity": config.positions},
        size_sets=[{"batch": b, "step": s, "capacity": c} for b, s, c in ((1, 1, 6), (3, 1, 14), (1, 4, 4))],
    )  # fmt: skip
    parts = {"encoder": encoder, "context": context, "decoder": replace(decoder, example=placed(decoder))}
    links = [
        StateLink(part, f"next_{cache}", "decoder", cache)
        for part in ("context", "decoder")
        for cache in caches
    ]
    return TorchModel(
        parts,
        facts(name, net, "text2text-generation"),
        links=tuple(links),
        rollout=lambda: rollout(net, play),
    )


def _numbered(shape: tuple[int, ...]) -> np.ndarray:
    import numpy as np

    return np.arange(shape[0])


def rollout(net: Network, play: Play) -> list[Call]:
    """A context and single steps after it (encoder-decoder mode), then a decoder from its start (decoder-only mode)."""
    import numpy as np

    rng = np.random.default_rng(7)
    first, slots = play.source, np.arange(play.capacity)
    ids = rng.integers(0, play.vocabulary, (1, first + _STEPS))
    with torch.no_grad():
        wanted = net.whole(torch.from_numpy(ids), first).numpy()
    calls = [Call("context", {"ids": ids[:, :first], "slots": slots}, {"logits": wanted[:, first - 1]})]
    for t in range(first, first + _STEPS):
        inputs = {"ids": ids[:, t : t + 1], "positions": np.arange(t, t + 1), "slots": slots}
        calls.append(Call("decoder", inputs, {"logits": wanted[:, t]}))
    return calls + steps(lambda ids: net.whole(torch.from_numpy(ids)), play)
