"""The Block Transformer's three graphs as an exporter needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.architectures.language._block_transformer import Begin, Block, Network, Token
from edgepack.exporters.sources.base import TorchModel, TorchPart
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.architectures.language.block_transformer import BlockTransformer

_CAPACITY = 64  # blocks that a target with fixed sizes is built for
_PROMPT, _BLOCKS = 3, 9  # blocks of the rollout's prompt, and of a sequence


def build(config: BlockTransformer, name: str) -> TorchModel:
    """Parts, links and rollout."""
    net = Network(config).eval()
    capacity = min(_CAPACITY, config.positions)
    head = config.width // config.heads
    far = [f"block_{kind}_{i}" for i in range(config.block_layers) for kind in ("key", "value")]
    near = [f"{kind}_{i}" for i in range(config.token_layers) for kind in ("key", "value")]
    upper = {"ids": config.vocabulary}
    block = torch_part(
        Block(net), f"ids:int64[batch=2,step=2,{config.length}]", "positions:int64[step]",
        f"slots:int64[capacity={capacity}]", *(f"{one}:float32[batch,{config.heads},capacity,{head}]" for one in far),
        outputs=["context", *_next(far)], where=name, upper=upper, limits={"capacity": config.positions},
        size_sets=[{"batch": b, "step": s, "capacity": c} for b, s, c in ((1, 1, 6), (3, 1, 14), (1, 4, 4))],
    )  # fmt: skip
    begin = torch_part(
        Begin(net), f"context:float32[batch=2,{config.width}]", outputs=["logits", *_next(near)], where=name,
    )  # fmt: skip
    token = torch_part(
        Token(net), "ids:int64[batch=2]", "position:int64[1]",
        *(f"{one}:float32[batch,{config.heads},{config.local},{head}]" for one in near),
        outputs=["logits", *_next(near)], where=name, upper=upper,
    )  # fmt: skip
    links = [StateLink("block", f"next_{one}", "block", one) for one in far]
    links += [StateLink("block", "context", "begin", "context")]
    links += [StateLink(part, f"next_{one}", "token", one) for part in ("begin", "token") for one in near]
    parts = {
        "block": replace(block, example=_placed(block, config)),
        "begin": begin,
        "token": replace(token, example=_placed(token, config)),
    }
    return TorchModel(
        parts, facts(name, net, "text-generation"), links=tuple(links), rollout=lambda: rollout(net, capacity)
    )


def _next(states: list[str]) -> list[str]:
    return [f"next_{state}" for state in states]


def _placed(
    part: TorchPart, config: BlockTransformer
) -> Callable[[Mapping[str, int], int], dict[str, np.ndarray]]:
    """Examples in the middle of the global cache, and with every place within a block by turns."""

    def example(sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        import numpy as np

        made = part.example(sizes, seed)
        if "positions" in made:
            first = (sizes["capacity"] - sizes["step"]) // 2
            made["positions"] = np.arange(first, first + sizes["step"])
            made["slots"] = np.arange(sizes["capacity"])
        else:
            made["position"] = np.array([config.prefix + seed % (config.length - 1)])
        return made

    return example


def rollout(net: Network, capacity: int) -> list[Call]:
    """Block by block, and from the start again with a prompt of several blocks; every token of a block by itself."""
    import numpy as np

    rng = np.random.default_rng(7)
    config, slots = net.config, np.arange(capacity)
    count = min(_BLOCKS, capacity - 1)
    calls = []
    single = [(b, b + 1) for b in range(count)]
    for bounds in (single, [(0, _PROMPT), *single[_PROMPT:]]):
        ids = rng.integers(0, config.vocabulary, (1, count + 1, config.length))
        with torch.no_grad():
            wanted, contexts = (call(torch.from_numpy(ids)).numpy() for call in (net.whole, net.contexts))
        for first, last in bounds:
            inputs = {"ids": ids[:, first:last], "positions": np.arange(first, last), "slots": slots}
            calls.append(Call("block", inputs, {"context": contexts[:, last - 1]}))
            # The logits that a block's context leads to are those of the block behind it.
            calls.append(Call("begin", {}, {"logits": wanted[:, last - 1, 0]}))
            for t in range(config.length - 1):
                token = {"ids": ids[:, last, t], "position": np.array([config.prefix + t])}
                calls.append(Call("token", token, {"logits": wanted[:, last - 1, t + 1]}))
    return calls
