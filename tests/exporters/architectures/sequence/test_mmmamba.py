"""Row 35: steps against the whole sequence, what does not grow, and what a carved layer keeps."""

from dataclasses import replace

import pytest

from edgepack.exporters.architectures.sequence import mmmamba as row35
from edgepack.exporters.architectures.sequence._mmmamba import Attention, Carved, state_shapes
from tests.exporters.architectures.sequence.decoders import steps_equal_the_whole


@pytest.mark.parametrize("name", ["linear-tiny", "tiny"])
def test_steps_after_a_prompt_equal_the_whole_sequence(name):
    steps_equal_the_whole(row35.build(row35.CONFIGS[name]))


def test_what_grows_are_the_hybrids_caches_only():
    for name, grow in (("linear", 0), ("hybrid", 2 * 8), ("transformer", 2 * 32)):
        config = row35.CONFIGS[name]
        before, after = state_shapes(config), state_shapes(replace(config, positions=2 * config.positions))
        assert sum(before[state] != after[state] for state in before) == grow


def test_a_carved_layer_keeps_the_attentions_matrices():
    config = row35.CONFIGS["tiny"]
    was, now = Attention(config).state_dict(), Carved(config).state_dict()
    assert {name: weight.shape for name, weight in was.items()}.items() <= {
        n: w.shape for n, w in now.items()
    }.items()
    assert now.keys() - was.keys() >= {"size.weight", "log_rate", "gate.weight", "norm.gain"}
