"""Row 06: steps against the whole sequence, the one cache, and what a prompt costs."""

import itertools

import torch

from edgepack.exporters.architectures._counting import Whole, counted
from edgepack.exporters.architectures.sequence import sambay as row06
from edgepack.exporters.architectures.sequence._decoding import Prefill
from edgepack.exporters.architectures.sequence._sambay import Network, state_shapes
from tests.exporters.architectures.sequence.decoders import steps_equal_the_whole


def test_steps_after_a_prompt_equal_the_whole_sequence():
    steps_equal_the_whole(row06.build(row06.CONFIGS["tiny"]))


def test_keys_of_all_positions_are_held_once_at_any_depth():
    for name in ("d8", "d16", "d24"):
        config = row06.CONFIGS[name]
        held = [
            state
            for state, shape in state_shapes(config).items()
            if str(config.positions) in shape.split(",")
        ]
        assert held == ["key", "value"]


def test_a_prefill_costs_in_proportion_to_its_length():
    config = row06.CONFIGS["d8"]

    def macs(length):
        return counted(
            lambda: Whole(Prefill(Network(config)), (torch.zeros(1, length, dtype=torch.int64),))
        ).macs

    counts = [macs(length) for length in (256, 512, 1024, 2048)]
    assert all(1.9 < after / before < 2.01 for before, after in itertools.pairwise(counts))
