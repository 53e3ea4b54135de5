"""The step graphs of `continual_inference`: parts, links, and the rollout against whole sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.architectures.blocks._continual import Past, prepare
from edgepack.exporters.architectures.sequence._continual_networks import (
    SkeletonNetwork,
    TokenNetwork,
    VideoNetwork,
)
from edgepack.exporters.architectures.sequence._pruned import adapt, pruned_tokens, pruned_video
from edgepack.exporters.sources.base import TorchModel, TorchPart
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence.continual_inference import ContinualInference

AnyNetwork = VideoNetwork | SkeletonNetwork | TokenNetwork
_SCORES = 5  # of a rollout, at least: the first needs full states, the others that these move on


class Step(torch.nn.Module):
    """One step of a network: its input, then the states, to scores and the next states."""

    def __init__(self, net: AnyNetwork) -> None:
        super().__init__()
        self.net = net.eval()
        prepare(net)

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As `net.step`; tokens come with their turn."""
        if isinstance(self.net, TokenNetwork):
            past = Past(states[1:])
            return self.net.step(x, states[0], past), *past.after
        past = Past(states)
        return self.net.step(x, past), *past.after

    def example(self) -> tuple[torch.Tensor, ...]:
        """Inputs of a stream's first step, of batch 1, with the states at their ends."""
        past = Past()
        first: tuple[torch.Tensor, ...]
        if isinstance(self.net, TokenNetwork):
            first = torch.zeros(1, 1, self.net.config.features), torch.zeros(1, dtype=torch.int64)
            self.net.step(*first, past)
        else:
            first = (torch.zeros(1, *self.net.config.frame),)
            self.net.step(first[0], past)
        return *first, *past.after


def networks(config: ContinualInference) -> dict[str, AnyNetwork]:
    """Every network of a configuration by the name of its part."""
    found: dict[str, AnyNetwork] = {}
    if config.video:
        found["video"] = VideoNetwork(config.video)
    if config.skeleton:
        found["skeleton"] = SkeletonNetwork(config.skeleton)
    if config.tokens:
        found["tokens"] = TokenNetwork(config.tokens)
    if config.kept and config.video:
        video = VideoNetwork(config.video)
        adapt(video, config.rank)
        found["video_pruned"] = pruned_video(video, config.kept)
    if config.kept and config.tokens:
        tokens = TokenNetwork(config.tokens)
        adapt(tokens, config.rank)
        found["tokens_pruned"] = pruned_tokens(tokens, config.kept)
    return found


def build(config: ContinualInference, name: str, steps: int) -> TorchModel:
    """Parts, links and rollout; `steps` of the rollout, at least."""
    nets = networks(config)
    parts: dict[str, TorchPart] = {}
    links: list[StateLink] = []
    with torch.no_grad():
        for part, net in nets.items():
            parts[part], states = _part(Step(net), name)
            links += [StateLink(part, f"next_{state}", part, state) for state in states]
    everything = torch.nn.ModuleDict(nets)
    return TorchModel(
        parts, facts(name, everything, "video-classification"), links=tuple(links),
        rollout=lambda: [call for part, net in nets.items() for call in rollout(part, net, steps)],
    )  # fmt: skip


def _part(step: Step, where: str) -> tuple[TorchPart, list[str]]:
    """A step as a part, and the names of its states."""
    example = step.example()
    tokens = isinstance(step.net, TokenNetwork)
    names = ["token", "turn"] if tokens else ["frame"]
    states = [f"state_{i}" for i in range(len(example) - len(names))]
    specs = []
    for index, (name, value) in enumerate(zip([*names, *states], example, strict=True)):
        if name == "turn":
            specs.append("turn:int64[1]")
            continue
        batch = "batch=2" if index == 0 else "batch"
        specs.append(f"{name}:float32[{','.join([batch, *map(str, value.shape[1:])])}]")
    upper = {"turn": step.net.config.window} if isinstance(step.net, TokenNetwork) else None
    part = torch_part(
        step, *specs, outputs=["scores", *(f"next_{state}" for state in states)], where=where, upper=upper,
        size_sets=[{"batch": 1}, {"batch": 3}],
    )  # fmt: skip
    return part, states


def rollout(part: str, net: AnyNetwork, steps: int) -> list[Call]:
    """A stream's steps, with the scores of every clip in it: the last of them say something, the first warm up.

    Args:
        part: The network's.
        net: The network.
        steps: Of the stream, at least: more where a clip of this network would leave fewer than `_SCORES` scores.
    """
    import numpy as np

    steps = max(steps, net.config.clip + _SCORES - 1)
    rng = np.random.default_rng(7)
    shape = (
        (1, steps, net.config.features)
        if isinstance(net, TokenNetwork)
        else (1, 3, steps, *net.config.frame[1:])
    )
    x = rng.standard_normal(shape, np.float32)

    def feed(t: int) -> dict[str, np.ndarray]:
        if isinstance(net, TokenNetwork):
            return {"token": x[:, t : t + 1], "turn": np.array([t % net.config.window])}
        return {"frame": x[:, :, t]}

    with torch.no_grad():
        whole = net.whole(torch.from_numpy(x)).numpy()
    first = steps - whole.shape[1]
    return [Call(part, feed(t), {"scores": whole[:, t - first]} if t >= first else {}) for t in range(steps)]
