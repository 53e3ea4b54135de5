"""Row 72, a vessel's next 12 hours from its last 1 to 3: convolutions, Bi-LSTMs, attention that prefers what is recent.

    x_t = [convolutions over the track at t, track at t],   h = Bi-LSTM(x)
    a_t = softmax_t(v . tanh(W h_t) + s (t + 1 - T)), s >= 0,   c = relu(W' sum_t a_t h_t)
    forecast = W'' Bi-LSTM(c + time of every step ahead)

The track has the position, speed and course that a vessel sends, and the probable route and destination that are
engineered from historic tracks (inputs here).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "vessel-forecaster"


@dataclass(frozen=True)
class VesselForecaster:
    """Sizes of one network.

    Attributes:
        length: Steps of the track.
        ahead: Steps of the forecast.
        features: Of a step: position, speed, course, probable route and destination.
        convolutions: Channels of the convolutions over time.
        width: Of each direction of the Bi-LSTMs.
        seed: Of the random weights.
    """

    length: int
    ahead: int
    features: int = 8
    convolutions: tuple[int, ...] = (64, 128)
    width: int = 128
    seed: int = 0


CONFIGS = {
    "3h": VesselForecaster(18, 72),
    "2h": VesselForecaster(12, 72),
    "1h": VesselForecaster(6, 72),
    "tiny": VesselForecaster(6, 8, features=8, convolutions=(8, 16), width=8),
}

CARD = Card(
    name=NAME,
    system="72",
    paper="Building a Safer Maritime Environment Through Multi-Path Long-Term Vessel Trajectory Forecasting",
    arxiv="2310.18948",
    says=(
        "abstract: the next 12 hours of a trajectory from 1 to 3 hours of AIS data",
        "abstract: an encoder-decoder of Bi-LSTMs, convolutions, attention that gives more weight to recent steps",
        "abstract: R2 score over 98 %; features of route and destination with F1 of 85 % and 75 %",
    ),
    parts={"main": "a track of 1 to 3 hours to the positions of the next 12"},
    checks=(
        "the part against torch on several batches",
        "1, 2 and 3 hours have one set of weights, and 12 hours come out of each (counted)",
    ),
    assumed=(
        "a step every 10 minutes: 6, 12 or 18 in, 72 out; the abstract gives hours",
        "attention is additive with a learned slope over time that is not negative; widths and the number of layers",
        "the decoder reads the attended vector at every step, with a learned vector a step",
        "LSTMs over these short, known lengths are written step by step; route and destination features are inputs",
        "weights are random from a fixed seed",
    ),
    unpublished="the abstract gives no size",
    structure=(
        "both directions of both LSTMs, every step of them",
        "convolutions over the track, and one softmax over its steps",
    ),
    compared="not run: no code of the authors is known; Bi-LSTMs equal torch.nn.LSTM with the same weights (a test)",
)


def _whole(config: VesselForecaster) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.sequence._vessel_forecaster import Network

    return Whole(Network(config))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, too_few

    lost = not_there(graphs, "main")
    if lost:
        return lost
    config, graph = CONFIGS["tiny"], graphs["main"]
    lost += too_few(graph, "Conv", len(config.convolutions), "convolutions over the track")
    lost += too_few(graph, "Softmax", 1, "attention over the track")
    # Each step of each direction has two: of the new values and of the memory.
    return lost + too_few(graph, "Tanh", 4 * (config.length + config.ahead), "steps of both Bi-LSTMs")


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: VesselForecaster) -> TorchModel:
    """The part of a configuration."""
    from edgepack.exporters.architectures.sequence import _vessel_forecaster

    return _vessel_forecaster.build(config, NAME)
