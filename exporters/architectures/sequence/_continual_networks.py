"""The three networks of `continual_inference`: over video, over skeletons, and over tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import silu

from edgepack.exporters.architectures.blocks._attention import attend, split
from edgepack.exporters.architectures.blocks._continual import ContinualConv, Past, crop, delay, mean
from edgepack.exporters.architectures.blocks._convolution import SqueezeExcite
from edgepack.exporters.architectures.blocks._each import each
from edgepack.exporters.architectures.blocks._mlp import MLP
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence.continual_inference import Skeleton, Tokens, Video


class VideoBlock(torch.nn.Module):
    """x + c(excite(b(a x))): wider by 1x1, one depthwise 3x3x3, narrower by 1x1."""

    def __init__(self, channels: int, inner: int, width: int, stride: int, squeezed: int) -> None:
        super().__init__()
        self.a = ContinualConv(channels, inner, activation=torch.relu)
        self.b = ContinualConv(inner, inner, (3, 3), stride=stride, depthwise=True)
        self.excite = SqueezeExcite(inner, squeezed) if squeezed else None
        self.c = ContinualConv(inner, width)
        self.around = (
            None if channels == width and stride == 1 else ContinualConv(channels, width, stride=stride)
        )

    def clip(self, x: torch.Tensor) -> torch.Tensor:
        """Over a clip, which gets two steps shorter."""
        y = self.b.clip(self.a.clip(x))
        if self.excite is not None:  # of every frame by itself
            y = torch.stack([self.excite(frame) for frame in y.unbind(2)], 2)
        x = crop(x if self.around is None else self.around.clip(x), 3)
        return torch.relu(x + self.c.clip(silu(y)))

    def step(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """One frame, one frame late."""
        y = self.b.step(self.a.step(x, past), past)
        if self.excite is not None:
            y = self.excite(y)
        x = delay(x if self.around is None else self.around.step(x, past), 1, past)
        return torch.relu(x + self.c.step(silu(y), past))


class VideoNetwork(torch.nn.Module):
    """X3D: a stem that is separate in space and time, four stages of blocks, a head."""

    def __init__(self, config: Video, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.space = torch.nn.Conv3d(3, widths[0], (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
        self.time = ContinualConv(
            widths[0], widths[0], (config.stem, 1), depthwise=True, activation=torch.relu
        )
        blocks, channels = [], widths[0]
        for width, inner, depth in zip(widths, config.inner, config.depths, strict=True):
            for index in range(depth):
                squeezed = 0 if index % 2 else squeeze(config.expanded(width))
                blocks.append(VideoBlock(channels, inner, width, 1 if index else 2, squeezed))
                channels = width
        self.blocks = torch.nn.ModuleList(blocks)
        last = config.expanded(widths[-1])
        self.five = ContinualConv(channels, last, activation=torch.relu)
        self.hidden = torch.nn.Linear(last, config.hidden, bias=False)
        self.out = torch.nn.Linear(config.hidden, config.classes)
        initialize(self, seed)
        self._keep_size()

    def _keep_size(self) -> None:
        """Random weights with which frames keep their size through relu, silu and excitation."""
        with torch.no_grad():
            for convolution in (self.time, self.five):
                convolution.conv.weight.mul_(2**0.5)
            for block in each(self.blocks, VideoBlock):
                for convolution, gain in ((block.a, 2**0.5), (block.b, 2**0.5), (block.c, 4.0)):
                    convolution.conv.weight.mul_(gain)

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of every clip in [batch, 3, time, height, width]: [batch, clips, classes]."""
        x = self.time.clip(self.space(x))
        for block in each(self.blocks, VideoBlock):
            x = block.clip(x)
        pooled = self.five.clip(x).mean((3, 4)).unfold(2, self.config.pool, 1).mean(-1)
        return self._head(pooled.transpose(1, 2))

    def step(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """Scores [batch, classes] after one frame [batch, 3, height, width]."""
        x = torch.nn.functional.conv2d(x, self.space.weight[:, :, 0], None, 2, 1)
        x = self.time.step(x, past)
        for block in each(self.blocks, VideoBlock):
            x = block.step(x, past)
        return self._head(mean(self.five.step(x, past).mean((2, 3)), self.config.pool, past))

    def _head(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.hidden(x)))  # type: ignore[no-any-return]


class GraphConv(torch.nn.Module):
    """relu(norm(W [x A_1, x A_2, x A_3]) + x): neighbours of three kinds, by learned weights of fixed edges."""

    def __init__(self, channels: int, width: int, edges: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("edges", edges, persistent=False)
        self.weights = torch.nn.Parameter(torch.ones_like(edges))
        self.mix = ContinualConv(len(edges) * channels, width, bias=True)
        self.around = None if channels == width else ContinualConv(channels, width, bias=True)

    def _spread(self, x: torch.Tensor) -> torch.Tensor:
        graph = self.get_buffer("edges") * self.weights
        return torch.cat([x @ edges for edges in graph.unbind(0)], 1)

    def clip(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, time, skeletons, joints]."""
        y = self.mix.clip(self._spread(x))
        return torch.relu(y + (x if self.around is None else self.around.clip(x)))

    def step(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """[batch, channels, skeletons, joints]; nothing is kept."""
        y = self.mix.step(self._spread(x), past)
        return torch.relu(y + (x if self.around is None else self.around.step(x, past)))


class SkeletonBlock(torch.nn.Module):
    """relu(convolution over time of a graph convolution + x)."""

    def __init__(
        self, channels: int, width: int, kernel: int, edges: torch.Tensor, *, residual: bool
    ) -> None:
        super().__init__()
        self.kernel, self.residual = kernel, residual
        self.graph = GraphConv(channels, width, edges)
        self.time = ContinualConv(width, width, (kernel, 1), bias=True)
        wider = residual and channels != width
        self.around = ContinualConv(channels, width, bias=True) if wider else None

    def clip(self, x: torch.Tensor) -> torch.Tensor:
        """Over a clip, which gets `kernel - 1` steps shorter."""
        y = self.time.clip(self.graph.clip(x))
        if not self.residual:
            return torch.relu(y)
        return torch.relu(y + crop(x if self.around is None else self.around.clip(x), self.kernel))

    def step(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """One step, `kernel // 2` late."""
        y = self.time.step(self.graph.step(x, past), past)
        if not self.residual:
            return torch.relu(y)
        x = x if self.around is None else self.around.step(x, past)
        return torch.relu(y + delay(x, self.kernel // 2, past))


class SkeletonNetwork(torch.nn.Module):
    """ST-GCN without padding and stride over time."""

    def __init__(self, config: Skeleton, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.norm = torch.nn.BatchNorm1d(3 * config.people * config.joints)
        channels = (3, *config.widths)
        edges = neighbours(config.joints)
        self.blocks = torch.nn.ModuleList(
            SkeletonBlock(channels[i], width, config.kernel, edges, residual=i > 0)
            for i, width in enumerate(config.widths)
        )
        self.out = torch.nn.Linear(channels[-1], config.classes)
        initialize(self, seed)

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of every clip in [batch, 3, time, people, joints]: [batch, clips, classes]."""
        x = self._normal_clip(x)
        for block in each(self.blocks, SkeletonBlock):
            x = block.clip(x)
        return self.out(x.mean((3, 4)).unfold(2, self.config.pool, 1).mean(-1).transpose(1, 2))  # type: ignore[no-any-return]

    def step(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """Scores [batch, classes] after one set of joints [batch, 3, people, joints]."""
        x = self._normal(x)
        for block in each(self.blocks, SkeletonBlock):
            x = block.step(x, past)
        pooled = torch.nn.functional.avg_pool2d(x, (self.config.people, self.config.joints)).flatten(1)
        return self.out(mean(pooled, self.config.pool, past))  # type: ignore[no-any-return]

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.flatten(1)).reshape(x.shape)  # type: ignore[no-any-return]

    def _normal_clip(self, x: torch.Tensor) -> torch.Tensor:
        """All frames at once: a clip's graph has one normalization, and not as many as it has frames."""
        joints = x.movedim(2, -1)
        return self.norm(joints.flatten(1, 3)).reshape(joints.shape).movedim(-1, 2)  # type: ignore[no-any-return]


class TokenNetwork(torch.nn.Module):
    """One encoder layer whose output is wanted of the newest token only, over a window of tokens.

    L. Hedegaard et al., Continual Transformers, arXiv:2201.06268, section 3.3: the newest query against kept keys and
    values. Positions are recycled (section 3.4): token t has row t mod n of a learned table.
    """

    def __init__(self, config: Tokens, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.enter = torch.nn.Linear(config.features, config.width)
        self.positions = torch.nn.Parameter(torch.zeros(config.window, config.width))
        self.qkv = torch.nn.Linear(config.width, 3 * config.width)
        self.merge = torch.nn.Linear(config.width, config.width)
        self.norm = torch.nn.LayerNorm(config.width)
        self.mlp = MLP(config.width, config.hidden, torch.relu)
        self.after = torch.nn.LayerNorm(config.width)
        self.out = torch.nn.Linear(config.width, config.classes)
        initialize(self, seed)

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of every window in [batch, time, features]: [batch, windows, classes]."""
        n = self.config.window
        x = self.enter(x) + self.positions[torch.arange(x.shape[1]) % n]
        return torch.stack([self._last(x[:, t : t + n]) for t in range(x.shape[1] - n + 1)], 1)

    def _last(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = split(self.qkv(x), 3, self.config.heads)
        return self._rest(x[:, -1:], attend(q, k, v)[:, -1:])

    def step(self, x: torch.Tensor, turn: torch.Tensor, past: Past) -> torch.Tensor:
        """Scores [batch, classes] after one token.

        Args:
            x: [batch, 1, features].
            turn: int64 [1], its place in the recycled positions.
            past: Keys and values.
        """
        x = self.enter(x) + self.positions[turn]
        q, k, v = split(self.qkv(x), 3, self.config.heads)
        kept = []
        for new in (k, v):
            shape = (new.shape[0], new.shape[1], self.config.window - 1, new.shape[3])
            window = torch.cat([past.last(shape), new], 2)
            past.keep(window[:, :, 1:])
            kept.append(window)
        return self._rest(x, attend(q, kept[0], kept[1]))

    def _rest(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        x = self.norm(x + self.merge(mixed))
        return self.out(self.after(x + self.mlp(x))[:, 0])  # type: ignore[no-any-return]


def squeeze(inner: int) -> int:
    """Channels of the squeeze: a sixteenth, rounded to a multiple of 8 and not down by more than a tenth (X3D)."""
    rounded = max(8, int(inner / 16 + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * inner / 16 else rounded


def neighbours(joints: int) -> torch.Tensor:
    """Edges of a chain of joints, [3, joints, joints]: oneself, inwards, outwards, each with weights of sum 1."""
    oneself = torch.eye(joints)
    inwards = torch.diag(torch.ones(joints - 1), 1)
    return torch.stack([oneself, inwards, inwards.T])
