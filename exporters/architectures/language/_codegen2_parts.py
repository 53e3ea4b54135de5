"""CodeGen2's three graphs as an exporter needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.architectures.language._codegen2 import Decode, Infill, Network, Prefill
from edgepack.exporters.sources.base import TorchModel, TorchPart
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.architectures.language.codegen2 import CodeGen2

_PROMPT, _CAPACITY = 128, 256  # that a target with fixed sizes is built for
_PREFIX = 5  # of the rollout's prompts
_STEPS = 33  # of the rollout, after a prompt; half as many after a gap
ASKED = 4  # tokens that `Infill` adds


def build(config: CodeGen2, name: str) -> TorchModel:
    """Parts, links and rollout."""
    net = Network(config).eval()
    prompt, capacity = min(_PROMPT, config.positions // 4), min(_CAPACITY, config.positions)
    side = prompt // 2
    upper = dict.fromkeys(("ids", "before", "behind"), config.vocabulary)
    caches = [f"{kind}_{i}" for i in range(config.layers) for kind in ("key", "value")]
    outputs = ["logits", *(f"next_{cache}" for cache in caches)]
    slots = f"slots:int64[capacity={capacity}]"
    shape = f"float32[batch,{config.heads},capacity,{config.width // config.heads}]"
    limit = config.positions
    prefill = torch_part(
        Prefill(net), f"ids:int64[batch=2,prompt={prompt}]", "prefix:int64[1]", slots, outputs=outputs, where=name,
        upper=upper, limits={"prompt": limit, "capacity": limit},
        size_sets=[{"batch": b, "prompt": p, "capacity": c} for b, p, c in ((1, 3, 7), (3, 4, 12), (1, 6, 6))],
    )  # fmt: skip
    infill = torch_part(
        Infill(net), f"before:int64[batch=2,before={side}]", f"behind:int64[batch,behind={side + 1}]",
        "prefix:int64[1]", slots, outputs=outputs, where=name, upper=upper,
        limits={"before": limit // 2 - ASKED, "behind": limit // 2, "capacity": limit},
        size_sets=[
            {"batch": b, "before": x, "behind": y, "capacity": c}
            for b, x, y, c in ((1, 2, 3, 9), (3, 4, 1, 14), (1, 1, 1, 6))
        ],
    )  # fmt: skip
    decode = torch_part(
        Decode(net), "ids:int64[batch=2]", "position:int64[1]", slots, *(f"{cache}:{shape}" for cache in caches),
        outputs=outputs, where=name, upper=upper, limits={"capacity": limit},
        size_sets=[{"batch": b, "capacity": c} for b, c in ((1, 6), (3, 14), (1, 4))],
    )  # fmt: skip
    parts = {
        name: replace(part, example=_placed(part))
        for name, part in (("prefill", prefill), ("infill", infill), ("decode", decode))
    }
    links = tuple(StateLink(part, f"next_{cache}", "decode", cache) for part in parts for cache in caches)
    return TorchModel(
        parts,
        facts(name, net, "text-generation"),
        links=links,
        rollout=lambda: rollout(net, prompt, capacity),
    )


def _placed(part: TorchPart) -> Callable[[Mapping[str, int], int], dict[str, np.ndarray]]:
    """Examples with a prefix of every length by turns, none included, and tokens in the middle of the cache."""

    def example(sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        import numpy as np

        made = part.example(sizes, seed)
        made["slots"] = np.arange(sizes["capacity"])
        if "prefix" in made:
            length = sizes["prompt"] if "prompt" in sizes else sizes["before"] + sizes["behind"] + 2
            made["prefix"] = np.array([(length - seed) % (length + 1)])
        if "position" in made:
            made["position"] = np.array([sizes["capacity"] // 2])
        return made

    return example


def rollout(net: Network, prompt: int, capacity: int) -> list[Call]:
    """A prompt with a prefix and single steps; a gap between what is around it and single steps; a causal prompt."""
    import numpy as np

    rng = np.random.default_rng(7)
    config, slots, side = net.config, np.arange(capacity), prompt // 2
    calls: list[Call] = []

    def play(
        part: str, length: int, first: int, steps: int, ids: np.ndarray, given: dict[str, np.ndarray]
    ) -> None:
        with torch.no_grad():
            wanted = net.whole(torch.from_numpy(ids), first).numpy()
        inputs = given | {"prefix": np.array([first]), "slots": slots}
        calls.append(Call(part, inputs, {"logits": wanted[:, length - 1]}))
        for t in range(length, length + steps):
            token = {"ids": ids[:, t], "position": np.array([t]), "slots": slots}
            calls.append(Call("decode", token, {"logits": wanted[:, t]}))

    for first, steps in ((min(_PREFIX, prompt), min(_STEPS, capacity - prompt)), (0, 4)):
        ids = rng.integers(0, config.vocabulary, (1, prompt + steps))
        play("prefill", prompt, first, steps, ids, {"ids": ids[:, :prompt]})
    length = side + side + 1 + ASKED
    steps = min(_STEPS // 2, capacity - length)
    ids = rng.integers(0, config.vocabulary, (1, length + steps))
    ids[:, side] = config.gap
    ids[:, length - 3 : length] = config.end, config.separator, config.gap
    around = {"before": ids[:, :side], "behind": ids[:, side + 1 : length - 3]}
    play("infill", length, length - 2, steps, ids, around)
    return calls
