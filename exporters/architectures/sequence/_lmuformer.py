"""The network of LMUFormer, over a whole sequence at once and frame by frame, with the same modules.

Everything lies in images of one row, [batch, channels, 1, length]: a step is a whole sequence of length 1, and only
what looks at neighbours or at a memory differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures.blocks._legendre import LegendreMemory
from edgepack.exporters.architectures.blocks._statistics import give_statistics
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgepack.exporters.architectures.sequence.lmuformer import LMUFormer

TAPS = 3


class Near(torch.nn.Module):
    """Convolution over a frame and its two neighbours, without bias."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(width, channels, 1, TAPS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As many frames as come in; zeros stand before the first and after the last."""
        return torch.nn.functional.conv2d(x, self.weight, padding=(0, TAPS // 2))

    def step(self, x: torch.Tensor, history: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The answer for the frame before `x`, and the two frames that the next step needs."""
        window = torch.cat([history, x], -1)
        return torch.nn.functional.conv2d(window, self.weight), window[..., 1:]


class Block(torch.nn.Module):
    """x + memory(x), then x + channels(x)."""

    def __init__(self, config: LMUFormer) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        self.memory = LegendreMemory(config.order, config.positions)
        self.write = torch.nn.Conv2d(width, 1, 1)
        self.read = torch.nn.Conv2d(config.order + width, width, 1)
        self.project = torch.nn.Sequential(torch.nn.Conv2d(width, width, 1), torch.nn.BatchNorm2d(width))
        self.channels = torch.nn.Sequential(
            torch.nn.Conv2d(width, hidden, 1), torch.nn.BatchNorm2d(hidden), torch.nn.GELU(),
            torch.nn.Conv2d(hidden, width, 1), torch.nn.BatchNorm2d(width), torch.nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """All frames."""
        return self._rest(x, self.memory(torch.relu(self.write(x))))

    def step(
        self, x: torch.Tensor, live: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One frame, and nothing to be remembered of it unless it is `live`."""
        state = self.memory.step(torch.relu(self.write(x)) * live, state)
        return self._rest(x, state), state

    def _rest(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        x = x + self.project(torch.relu(self.read(torch.cat([memory, x], 1))))
        return x + self.channels(x)  # type: ignore[no-any-return]


class Network(torch.nn.Module):
    """Patch embedding of convolutions, blocks, classes of every frame, and their mean."""

    def __init__(self, config: LMUFormer) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.near = torch.nn.ModuleList(
            Near(config.bands if i == 0 else width, width) for i in range(config.convolutions)
        )
        self.norms = torch.nn.ModuleList(torch.nn.BatchNorm2d(width) for _ in range(config.convolutions))
        self.position = Near(width, width)
        self.blocks = torch.nn.ModuleList(Block(config) for _ in range(config.layers))
        self.classify = torch.nn.Conv2d(width, config.classes, 1)
        initialize(self, config.seed)
        give_statistics(self, config.seed)

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of every frame [batch, classes, 1, length], of a spectrogram [batch, length, bands]."""
        x = x.transpose(1, 2).unsqueeze(2)
        for near, norm in zip(self.near, self.norms, strict=True):
            x = norm(torch.relu(near(x)))
        x = x + self.position(x)
        for block in self.blocks:
            x = block(x)
        return self.classify(x)  # type: ignore[no-any-return]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores [batch, classes] of a whole spectrogram."""
        return self.frames(x).mean((2, 3))

    def near_layers(self) -> Iterator[tuple[Near, torch.nn.Module]]:
        """The convolutions of the embedding with their norms, by their type."""
        for near, norm in zip(self.near, self.norms, strict=True):
            assert isinstance(near, Near)  # noqa: S101 - tells type checkers
            yield near, norm


class Step(torch.nn.Module):
    """One frame: `forward(frame, live, delay, sums, count, *states)`, states as `state_shapes` has them.

    Every convolution sees one frame ahead, so that answers come `config.delay` frames late. The flag `live` of a
    frame travels with it through `delay`: what a convolution says of a frame before the first or after the last is
    zeroed, as the padding of the whole sequence is. Frames that are not live push the last answers out.
    """

    def __init__(self, net: Network) -> None:
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
        net, config = self.net, self.net.config
        flags = torch.cat([live, delay], 1)  # of this frame, the one before, ...
        after = []
        x = (frame * live)[..., None, None]
        for i, (near, norm) in enumerate(net.near_layers()):
            y, history = near.step(x, states[i])
            x = norm(torch.relu(y)) * flags[:, i + 1 : i + 2, None, None]
            after.append(history)
        y, history = net.position.step(x, states[config.convolutions])
        after.append(history)
        alive = flags[:, -1:]
        x = history[..., :1] + y
        for block, state in zip(net.blocks, states[config.convolutions + 1 :], strict=True):
            assert isinstance(block, Block)  # noqa: S101 - tells type checkers
            x, state = block.step(x, alive[..., None, None], state)  # noqa: PLW2901 - the next one
            after.append(state)
        scores = net.classify(x).flatten(1)
        # Counted apart: in one tensor with the sums, the count would take all of eight bits' steps.
        sums, count = sums + scores * alive, count + alive
        mean = sums / torch.relu(count - 1).add(1)  # by at least 1
        return mean, flags[:, :-1], sums, count, *after


def state_shapes(config: LMUFormer) -> dict[str, str]:
    """Specifications of all states, by name and in order."""
    near = [config.bands, *[config.width] * config.convolutions]
    return {
        "delay": f"{config.delay}",
        "sums": f"{config.classes}",
        "count": "1",
        **{f"near_{i}": f"{channels},1,{TAPS - 1}" for i, channels in enumerate(near)},
        **{f"memory_{i}": f"{config.order},1,1" for i in range(config.layers)},
    }
