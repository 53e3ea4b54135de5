"""Every declared comparison, in torch: its sides can be called as it says, and have the size that it says."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgepack.exporters.architectures.base import architectures
from edgepack.toolchain.claims._fits import FEWEST, exponent
from edgepack.toolchain.claims.base import claims
from edgepack.toolchain.claims.comparing import COMPARISONS, TOLERANCE

claims.names()  # imports them


def parameters(comparison, side, size):
    with torch.device("meta"):
        return side.build(size, comparison.lengths[0]).facts.parameters


@pytest.mark.parametrize("name", sorted(COMPARISONS))
def test_its_sides_can_be_called_at_every_quick_length(name):
    comparison = COMPARISONS[name]
    for side in comparison.sides:
        for length in comparison.quick:
            model = side.build(comparison.quick_size, length)
            for work in side.work(length):
                part = model.parts[work.part]
                assert work.times >= 1
                assert work.sizes.keys() <= part.sizes.keys(), "a size that this part does not have"
                feed = part.example({**part.sizes, **work.sizes}, 0)
                with torch.no_grad():
                    outputs = part.module(*(torch.from_numpy(value) for value in feed.values()))
                for output in outputs if isinstance(outputs, tuple) else [outputs]:
                    assert torch.isfinite(output).all()


@pytest.mark.parametrize("name", sorted(name for name, one in COMPARISONS.items() if one.equal))
def test_its_sides_are_of_equal_size(name):
    comparison = COMPARISONS[name]
    for size in comparison.sizes:
        claimed, other = (parameters(comparison, side, size) for side in comparison.sides)
        assert claimed == pytest.approx(other, rel=TOLERANCE)


@pytest.mark.parametrize("name", sorted(COMPARISONS))
def test_it_says_what_it_measures(name):
    comparison = COMPARISONS[name]
    values = {"latency", "multiply-accumulates", "throughput"} | (
        {"memory of a call"} if comparison.memory else set()
    )
    assert {statement.value for statement in comparison.statements} <= values
    assert all(statement.ratio is None or statement.ratio > 1 for statement in comparison.statements)
    assert len(comparison.lengths) >= 4 or comparison.power == 1
    assert [*comparison.lengths] == sorted(comparison.lengths)


GROWTHS = [
    (name, growth)
    for name, one in architectures.items()
    for growth in one.card.growth
    if growth.value == "multiply-accumulates"
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "growth"), GROWTHS, ids=[name for name, _ in GROWTHS])
def test_a_cards_exponent_is_what_its_claim_counts(name, growth):
    """Counted without numbers: the claim's own sizes and lengths, on tensors that have shapes only."""
    comparison = COMPARISONS[growth.claim]
    assert growth.lengths == comparison.lengths
    assert len(growth.lengths) >= FEWEST
    assert comparison.row in architectures.get(name).card.system
    for side, wanted in zip(comparison.sides, (growth.exponent, growth.other), strict=True):
        costs = {float(n) ** comparison.power: _macs(side, comparison.sizes[0], n) for n in growth.lengths}
        assert exponent(costs) == pytest.approx(wanted, abs=0.005)


def _macs(side, size, length):
    counted = 0
    with torch.device("meta"), torch.no_grad():
        model = side.build(size, length)
        for work in side.work(length):
            part = model.parts[work.part]
            sizes = {**part.sizes, **work.sizes}
            inputs = part.signature.inputs
            shapes = [torch.empty(spec.resolve(sizes), dtype=getattr(torch, spec.dtype)) for spec in inputs]
            with FlopCounterMode(display=False) as flops:
                part.module(*shapes)
            counted += work.times * flops.get_total_flops() // 2
    return counted
