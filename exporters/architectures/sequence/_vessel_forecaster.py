"""The network of `vessel_forecaster`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures._building import one_part
from edgepack.exporters.architectures.blocks._recurrent import Bidirectional
from edgepack.exporters.architectures.blocks._weights import initialize

if TYPE_CHECKING:
    from edgepack.exporters.architectures.sequence.vessel_forecaster import VesselForecaster
    from edgepack.exporters.sources.base import TorchModel


class RecencyAttention(torch.nn.Module):
    """sum_t softmax_t(v . tanh(W h_t) + s (t + 1 - T)) h_t with s >= 0: of two equal states the later weighs more."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = torch.nn.Linear(width, width)
        self.score = torch.nn.Linear(width, 1, bias=False)
        self.slope = torch.nn.Parameter(torch.zeros(1))

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, length] from [batch, length, width]."""
        ago = torch.arange(x.shape[1]) - (x.shape[1] - 1)
        content = self.score(torch.tanh(self.project(x))).squeeze(-1)
        scores: torch.Tensor = content + torch.nn.functional.softplus(self.slope) * ago
        return scores.softmax(-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width]."""
        return (self.weights(x)[:, None] @ x).squeeze(1)


class Network(torch.nn.Module):
    """Convolutions, a Bi-LSTM, attention to one vector; from it a Bi-LSTM over the hours to come."""

    def __init__(self, config: VesselForecaster) -> None:
        super().__init__()
        self.config = config
        channels = (config.features, *config.convolutions)
        self.convolutions = torch.nn.ModuleList(
            torch.nn.Conv2d(before, after, (1, 3), padding=(0, 1)) for before, after in pairwise(channels)
        )
        self.encoder = Bidirectional(channels[-1] + config.features, config.width)
        self.attention = RecencyAttention(2 * config.width)
        self.context = torch.nn.Linear(2 * config.width, 2 * config.width)
        self.times = torch.nn.Parameter(torch.zeros(config.ahead, 2 * config.width))
        self.decoder = Bidirectional(2 * config.width, config.width)
        self.out = torch.nn.Linear(2 * config.width, 2)
        initialize(self, config.seed)

    def forward(self, track: torch.Tensor) -> torch.Tensor:
        """Positions [batch, ahead, 2] from [batch, length, features], the newest last."""
        image = track.transpose(1, 2).unsqueeze(2)
        for convolution in self.convolutions:
            image = torch.relu(convolution(image))
        x = torch.cat([image.squeeze(2).transpose(1, 2), track], -1)
        context = torch.relu(self.context(self.attention(self.encoder(x))))
        return self.out(self.decoder(context[:, None] + self.times))  # type: ignore[no-any-return]


def build(config: VesselForecaster, name: str) -> TorchModel:
    """The one part."""
    return one_part(
        name, Network(config), "time-series-forecasting",
        f"track:float32[batch=2,{config.length},{config.features}]", outputs=["forecast"],
        size_sets=[{"batch": 1}, {"batch": 5}],
    )  # fmt: skip
