"""LMUFormer with neurons: what convolutions, memory and channel mixer read are spikes, and sums stay between them.

One description of the network, called by two runs: `Whole` computes all frames of a sequence, `Frame` one frame with
the states of a stream. Everything lies in images of one row, as in `_lmuformer.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import torch

from edgepack.exporters.architectures.blocks._legendre import LegendreMemory
from edgepack.exporters.architectures.blocks._spiking import Neurons
from edgepack.exporters.architectures.blocks._statistics import give_statistics
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.architectures.sequence._lmuformer import Near

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence.lmuformer import LMUFormer


class Run(Protocol):
    """How the parts of a network that look back, or ahead, are computed."""

    def near(self, layer: Near, x: torch.Tensor) -> torch.Tensor:
        """A convolution over neighbouring frames."""

    def fire(self, layer: Neurons, x: torch.Tensor) -> torch.Tensor:
        """Neurons."""

    def remember(self, layer: LegendreMemory, u: torch.Tensor) -> torch.Tensor:
        """A memory."""

    def late(self, x: torch.Tensor) -> torch.Tensor:
        """What goes around one convolution."""


class Whole:
    """All frames at once."""

    def near(self, layer: Near, x: torch.Tensor) -> torch.Tensor:
        """Zeros stand before the first frame and after the last."""
        return layer(x)  # type: ignore[no-any-return]

    def fire(self, layer: Neurons, x: torch.Tensor) -> torch.Tensor:
        """Walked frame by frame."""
        return layer(x)  # type: ignore[no-any-return]

    def remember(self, layer: LegendreMemory, u: torch.Tensor) -> torch.Tensor:
        """One convolution."""
        return layer(u)  # type: ignore[no-any-return]

    def late(self, x: torch.Tensor) -> torch.Tensor:
        """Nothing is late."""
        return x


class Frame:
    """One frame of a stream, which gets a frame late at every convolution.

    Args:
        flags: Whether this frame, the one before it, ... are live, [batch, delay + 1]. What neurons say of frames that
            are not is zeroed, and so are their potentials: as if the sequence began with the first live one.
        states: In the order in which the network asks for them.
    """

    def __init__(self, flags: torch.Tensor, states: Sequence[torch.Tensor]) -> None:
        self.flags, self.depth = flags, 0
        self._states: Iterator[torch.Tensor] = iter(states)
        self.after: list[torch.Tensor] = []

    @property
    def alive(self) -> torch.Tensor:
        """The flag of the frame that is computed now, [batch, 1]."""
        return self.flags[:, self.depth : self.depth + 1]

    def near(self, layer: Near, x: torch.Tensor) -> torch.Tensor:
        """The answer for the frame before."""
        y, history = layer.step(x, next(self._states))
        self.after.append(history)
        self.depth += 1
        return y

    def fire(self, layer: Neurons, x: torch.Tensor) -> torch.Tensor:
        """One step."""
        alive = self.alive[..., None, None]
        fired, v = layer.step(x, next(self._states))
        self.after.append(v * alive)
        return fired * alive

    def remember(self, layer: LegendreMemory, u: torch.Tensor) -> torch.Tensor:
        """One product."""
        state = layer.step(u, next(self._states))
        self.after.append(state)
        return state

    def late(self, x: torch.Tensor) -> torch.Tensor:
        """That of the frame before."""
        self.after.append(x)
        return next(self._states)


class Block(torch.nn.Module):
    """x + memory(x), then x + channels(x); a norm and neurons stand in front of every product."""

    def __init__(self, config: LMUFormer) -> None:
        super().__init__()
        width, hidden, order = config.width, config.hidden, config.order
        self.memory = LegendreMemory(order, config.positions)
        self.enter = _normed(width, 0.5)
        self.write, self.written = torch.nn.Conv2d(width, 1, 1), _normed(1)
        self.held = _normed(order)
        self.read, self.red = torch.nn.Conv2d(order + width, width, 1), _normed(width)
        self.project = torch.nn.Sequential(torch.nn.Conv2d(width, width, 1), torch.nn.BatchNorm2d(width))
        self.up_in, self.up = _normed(width), torch.nn.Conv2d(width, hidden, 1)
        self.down_in, self.down = _normed(hidden), torch.nn.Conv2d(hidden, width, 1)

    def forward(self, x: torch.Tensor, run: Run) -> torch.Tensor:
        """As `run` computes it."""
        spikes = self.enter(x, run)
        memory = self.held(run.remember(self.memory, self.written(self.write(spikes), run)), run)
        x = x + self.project(self.red(self.read(torch.cat([memory, spikes], 1)), run))
        return x + self.down(self.down_in(self.up(self.up_in(x, run)), run))  # type: ignore[no-any-return]


class Normed(torch.nn.Module):
    """A norm with fixed statistics, and neurons behind it."""

    def __init__(self, channels: int, threshold: float) -> None:
        super().__init__()
        self.norm, self.neurons = torch.nn.BatchNorm2d(channels), Neurons(channels, threshold)

    def forward(self, x: torch.Tensor, run: Run) -> torch.Tensor:
        """Spikes."""
        return run.fire(self.neurons, self.norm(x))


def _normed(channels: int, threshold: float = 1.0) -> Normed:
    return Normed(channels, threshold)


class SpikingNetwork(torch.nn.Module):
    """Patch embedding of convolutions, blocks, classes of every frame, and their mean."""

    def __init__(self, config: LMUFormer) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.near = torch.nn.ModuleList(
            Near(config.bands if i == 0 else width, width) for i in range(config.convolutions)
        )
        self.fired = torch.nn.ModuleList(_normed(width) for _ in range(config.convolutions))
        self.position = Near(width, width)
        self.blocks = torch.nn.ModuleList(Block(config) for _ in range(config.layers))
        self.leave = _normed(width)
        self.classify = torch.nn.Conv2d(width, config.classes, 1)
        initialize(self, config.seed)
        give_statistics(self, config.seed)
        if not self.classify.weight.is_meta:
            self._settle()

    def _settle(self) -> None:
        """Means and variances of noise, as training leaves those of its data: with others most neurons never fire."""
        noise = torch.Generator().manual_seed(self.config.seed)
        norms = [one for one in self.modules() if isinstance(one, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            self.train()(torch.randn(4, 32, self.config.bands, generator=noise))
        for norm in norms:
            norm.momentum = 0.1

    def run(self, x: torch.Tensor, run: Run) -> torch.Tensor:
        """Scores [batch, classes, 1, length] of [batch, bands, 1, length]."""
        for near, fired in zip(self.near, self.fired, strict=True):
            assert isinstance(near, Near)  # noqa: S101 - tells type checkers
            around = run.near(near, x)
            x = fired(around, run)
        x = run.late(around) + run.near(self.position, x)
        for block in self.blocks:
            x = block(x, run)
        return self.classify(self.leave(x, run))  # type: ignore[no-any-return]

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of every frame [batch, classes, 1, length], of a spectrogram [batch, length, bands]."""
        return self.run(x.transpose(1, 2).unsqueeze(2), Whole())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores [batch, classes] of a whole spectrogram."""
        return self.frames(x).mean((2, 3))


class SpikingStep(torch.nn.Module):
    """One frame: `forward(frame, live, delay, sums, count, *states)`, states as `state_shapes` has them."""

    def __init__(self, net: SpikingNetwork) -> None:
        super().__init__()
        self.net = net

    def forward(
        self,
        frame: torch.Tensor,
        live: torch.Tensor,
        delay: torch.Tensor,
        sums: torch.Tensor,
        count: torch.Tensor,
        *states: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Mean scores up to now [batch, classes], and the next states."""
        flags = torch.cat([live, delay], 1)
        run = Frame(flags, states)
        scores = self.net.run((frame * live)[..., None, None], run).flatten(1)
        sums, count = sums + scores * run.alive, count + run.alive
        mean = sums / torch.relu(count - 1).add(1)  # by at least 1
        return mean, flags[:, :-1], sums, count, *run.after


def state_shapes(config: LMUFormer) -> dict[str, str]:
    """Specifications of all states, by name and in the order in which a frame asks for them."""
    width, order = config.width, config.order
    shapes = {"delay": f"{config.delay}", "sums": f"{config.classes}", "count": "1"}
    for i in range(config.convolutions):
        shapes |= {f"near_{i}": f"{width if i else config.bands},1,2", f"potential_{i}": f"{width},1,1"}
    shapes |= {"around": f"{width},1,1", "near_position": f"{width},1,2"}
    for i in range(config.layers):
        for name, channels in (
            ("enter", width), ("write", 1), ("memory", order), ("hold", order), ("read", width), ("up", width),
            ("down", config.hidden),
        ):  # fmt: skip
            shapes[f"{name}_{i}"] = f"{channels},1,1"
    return shapes | {"leave": f"{width},1,1"}
