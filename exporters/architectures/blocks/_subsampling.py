r"""The front end of FastConformer: mel frames to an eighth of their rate by three convolutions of stride 2.

    conv 3x3 -> relu -> (depthwise 3x3 -> pointwise -> relu) twice -> linear over channels and what is left of mels

D. Rekesh et al., Fast Conformer with Linearly Scalable Attention, arXiv:2305.05084, section 3.1. `Subsampling` is
centred. `CausalSubsampling` has all of its reach in the past: with k - 1 zeros before, stage output t covers inputs
2 t - 2 to 2 t, so that encoder frame t needs mel frames up to 8 t. A chunk of C encoder frames then needs 8 C new mel
frames, 8 C c - 7 to 8 C (c + 1) - 8 for chunk c, and one frame of the past in every stage. The first chunk has seven
frames that do not exist: they, and the 3 and 1 that stages make of them, are multiplied with zero, as padding is zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

FACTOR = 8
_GHOSTS = (7, 3, 1)
"""Frames before the first at the input of each stage, in the first chunk."""


class Subsampling(torch.nn.Module):
    """From [batch, frames, mels] to [batch, frames / 8, width]."""

    padding = 1

    def __init__(self, mels: int, channels: int, width: int) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, channels, 3, 2, self.padding)
        self.depthwise = torch.nn.ModuleList(
            torch.nn.Conv2d(channels, channels, 3, 2, self.padding, groups=channels) for _ in range(2)
        )
        self.pointwise = torch.nn.ModuleList(torch.nn.Conv2d(channels, channels, 1) for _ in range(2))
        self.out = torch.nn.Linear(channels * self.bands(mels)[-1], width)

    @staticmethod
    def bands(mels: int) -> tuple[int, ...]:
        """Of `mels` bands, how many come into each stage and out of the last."""
        sizes = [mels]
        for _ in range(3):
            sizes.append((sizes[-1] + 2 - 3) // 2 + 1)
        return tuple(sizes)

    def stage(self, x: torch.Tensor, index: int) -> torch.Tensor:
        """One of the three stages, on an image [batch, channels, frames, bands]."""
        if index == 0:
            return torch.relu(self.first(x))
        return torch.relu(self.pointwise[index - 1](self.depthwise[index - 1](x)))

    def flat(self, x: torch.Tensor) -> torch.Tensor:
        """The last stage's image to [batch, frames, width]."""
        return self.out(x.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """The whole sequence at once."""
        x = mels.unsqueeze(1)
        for index in range(3):
            x = self.stage(x, index)
        return self.flat(x)


class CausalSubsampling(Subsampling):
    """From [batch, 8 n - 7, mels] to [batch, n, width]; or 8 C frames of a stream at a time."""

    padding = 0

    @staticmethod
    def bands(mels: int) -> tuple[int, ...]:
        """Of `mels` bands, how many come into each stage and out of the last."""
        sizes = [mels]
        for _ in range(3):
            sizes.append(sizes[-1] // 2 + 1)
        return tuple(sizes)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """The whole sequence at once."""
        x = mels.unsqueeze(1)
        for index in range(3):
            x = self.stage(torch.nn.functional.pad(x, (2, 1, 2, 0)), index)
        return self.flat(x)

    def step(
        self, mels: torch.Tensor, started: torch.Tensor, past: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """A chunk of a stream.

        Args:
            mels: [batch, 8 C, mels]; in the first chunk the first seven frames are not looked at.
            started: [batch, 1, 1, 1], 0 in the first chunk and 1 in all others.
            past: The last value, one image of one frame a stage.

        Returns:
            [batch, C, width], and the new past.
        """
        x, after = mels.unsqueeze(1), []
        for index, ghosts in enumerate(_GHOSTS):
            real = (torch.arange(x.shape[2]) >= ghosts).to(x.dtype)[:, None]
            x = x * (real + started * (1 - real))
            after.append(x[:, :, -1:])
            x = self.stage(torch.nn.functional.pad(torch.cat([past[index], x], 2), (2, 1)), index)
        return self.flat(x), after
