"""Row 72: one set of weights for 1, 2 and 3 hours, attention that prefers what is recent, torch's own Bi-LSTM."""

import pytest
import torch

from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.blocks._recurrent import Bidirectional
from edgepack.exporters.architectures.sequence import vessel_forecaster as row72
from edgepack.exporters.architectures.sequence._vessel_forecaster import Network, RecencyAttention


def test_twelve_hours_from_one_to_three_by_the_same_weights():
    configs = [row72.CONFIGS[name] for name in ("1h", "2h", "3h")]
    assert [6 * hours for hours in (1, 2, 3)] == [config.length for config in configs]
    assert {config.ahead for config in configs} == {6 * 12}
    counted = {architectures.get(row72.NAME).counted(name).parameters for name in ("1h", "2h", "3h")}
    assert len(counted) == 1
    net = Network(row72.CONFIGS["tiny"]).eval()
    with torch.no_grad():
        for length in (6, 12, 18):
            assert net(torch.zeros(1, length, 8)).shape == (1, 8, 2)


def test_both_directions_are_torchs_own():
    ours, public = Bidirectional(5, 7), torch.nn.LSTM(5, 7, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for direction, suffix in ((ours.forwards, ""), (ours.backwards, "_reverse")):
            for theirs, linear in (("ih", direction.cell.input), ("hh", direction.cell.recurrent)):
                for kind in ("weight", "bias"):
                    getattr(public, f"{kind}_{theirs}_l0{suffix}").copy_(getattr(linear, kind))
        x = torch.randn(3, 11, 5, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(ours(x), public(x)[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("slope", [-3.0, 0.0, 2.0])
def test_of_equal_states_the_later_one_weighs_more(slope):
    attention = RecencyAttention(4)
    with torch.no_grad():
        attention.slope.fill_(slope)
        weights = attention.weights(torch.ones(1, 5, 4))[0]
    assert weights.diff().min() > 0
    assert weights.sum() == pytest.approx(1)


def test_the_forecast_depends_on_every_step_of_the_track():
    config = row72.CONFIGS["tiny"]
    net = Network(config).eval()
    track = torch.randn(1, config.length, config.features, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        forecast = net(track)
        for t in range(config.length):
            other = track.clone()
            other[:, t] += 1
            assert (net(other) - forecast).abs().max() > 1e-6
