"""The parts of the two networks as an exporter needs them: inputs, links, and the rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.architectures._return_of_the_encoder_nets import Decoder, Encoder, Network
from edgepack.exporters.sources.base import TorchModel, TorchPart
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.architectures.return_of_the_encoder import LanguageModel

_INPUT = 7  # of the encoder in the rollout


def build(config: LanguageModel, name: str, *, prompt: int, steps: int) -> TorchModel:
    """Parts, links and rollout.

    Args:
        config: Which network.
        name: For messages and facts.
        prompt: Tokens of the rollout's first decoder call.
        steps: Single steps after it.
    """
    net = Network(config).eval()
    parts, links = {}, []
    upper = {"ids": config.vocabulary}
    limits = {"sequence": config.positions}
    caches = [f"{kind}_{i}" for i in range(config.decoder_layers) for kind in ("key", "value")]
    memory = [f"cross_{cache}" for cache in caches] if config.encoder_layers else []
    if memory:
        parts["encoder"] = torch_part(
            Encoder(net), "ids:int64[batch=2,sequence=7]",
            outputs=memory, where=name, upper=upper, limits=limits,
        )  # fmt: skip
        links += [StateLink("encoder", cross, "decoder", cross) for cross in memory]
    shape = f"{config.heads},{{}},{config.head_width}"
    decoder = torch_part(
        Decoder(net), "ids:int64[batch=2,step=2]", "positions:int64[step]", "slots:int64[capacity=9]",
        *(f"{cross}:float32[batch,{shape.format('sequence=7')}]" for cross in memory),
        *(f"{cache}:float32[batch,{shape.format('capacity')}]" for cache in caches),
        outputs=["logits", *(f"next_{cache}" for cache in caches)],
        where=name, upper=upper, limits=limits if memory else None,
        size_sets=[_sizes(memory, 1, 1, 6, 3), _sizes(memory, 3, 1, 14, 11), _sizes(memory, 1, 4, 4, 5)],
    )  # fmt: skip
    parts["decoder"] = replace(decoder, example=_placed(decoder))
    links += [StateLink("decoder", f"next_{cache}", "decoder", cache) for cache in caches]
    return TorchModel(
        parts,
        facts(name, net, "text-generation"),
        links=tuple(links),
        rollout=lambda: rollout(net, prompt, steps),
    )


def _sizes(memory: list[str], batch: int, step: int, capacity: int, sequence: int) -> dict[str, int]:
    sizes = {"batch": batch, "step": step, "capacity": capacity}
    return sizes | {"sequence": sequence} if memory else sizes


def _placed(part: TorchPart) -> Callable[[Mapping[str, int], int], dict[str, np.ndarray]]:
    """Examples whose new positions lie in the middle of the cache, so that both sides of them are tested."""

    def example(sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        import numpy as np

        made = part.example(sizes, seed)
        first = (sizes["capacity"] - sizes["step"]) // 2
        made["positions"] = np.arange(first, first + sizes["step"])
        made["slots"] = np.arange(sizes["capacity"])
        return made

    return example


def rollout(net: Network, prompt: int, steps: int) -> list[Call]:
    """The encoder, the prompt and single steps, with the logits of the whole sequence at once."""
    import numpy as np

    rng = np.random.default_rng(7)
    ids = rng.integers(0, net.config.vocabulary, (2, prompt + steps))
    slots = np.arange(prompt + steps)
    calls = []
    with torch.no_grad():
        memory: list[torch.Tensor] = []
        if net.config.encoder_layers:
            source = rng.integers(0, net.config.vocabulary, (2, _INPUT))
            memory = net.encode(torch.from_numpy(source))
            names = [f"cross_{kind}_{i}" for i in range(len(memory) // 2) for kind in ("key", "value")]
            outputs = {name: tensor.numpy() for name, tensor in zip(names, memory, strict=True)}
            calls.append(Call("encoder", {"ids": source}, outputs))
        whole = net.whole(torch.from_numpy(ids), memory).numpy()
    for begin, end in [(0, prompt), *((t, t + 1) for t in range(prompt, prompt + steps))]:
        inputs = {"ids": ids[:, begin:end], "positions": slots[begin:end], "slots": slots}
        calls.append(Call("decoder", inputs, {"logits": whole[:, end - 1]}))
    return calls
